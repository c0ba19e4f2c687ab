import { type GenBrowserError, problemOf } from './errors.js';
import { onAbort, request, textOf, type Wire, within } from './request.js';
import type { Address } from './types.js';

/** What waits to be sent to an address, while something is under way there. */
export type Outbox = Map<Address, Waiting[]>;

/** One line of what is sent. */
export interface Letter {
  readonly to: Address;
  readonly text: string;
}

interface Waiting {
  readonly text: string;
  /** Aborted when its time is over, and when nobody waits for it any more. */
  readonly signal: AbortSignal;
  readonly settle: (error?: unknown) => void;
}

/** So many lines go in one request at most. */
const TOGETHER = 100;

/**
 * Sends a line when what was sent to that address before has its answer, so that it arrives after that. Those that wait then
 * go in one request.
 */
export function deliver(
  wire: Wire,
  { to, text }: Letter,
  timeout: number,
  signal: AbortSignal | undefined,
  keepalive?: boolean,
): Promise<void> {
  return within(timeout, signal, signal => {
    return new Promise((resolve, reject) => {
      const one = {
        text,
        signal,
        settle: (error?: unknown) => (error ? reject(error) : resolve()),
      };
      const queue = wire.outbox.get(to);
      // A page that goes away can't wait.
      if (keepalive) together(wire, [one], keepalive);
      else if (queue) queue.push(one);
      else empty(wire, to, [one]);
    });
  });
}

async function empty(wire: Wire, to: Address, queue: Waiting[]): Promise<void> {
  wire.outbox.set(to, queue);
  while (queue.length) {
    const batch = queue.splice(0, TOGETHER).filter(({ signal }) => !signal.aborted);
    if (batch.length) await together(wire, batch);
  }
  wire.outbox.delete(to);
}

async function together(wire: Wire, batch: readonly Waiting[], keepalive = false): Promise<void> {
  const over = new AbortController();
  const { signal } = over;
  let left = batch.length;
  for (const one of batch) onAbort(one.signal, reason => --left || over.abort(reason));
  try {
    // As text/plain a page on another origin sends it without a preflight.
    const headers = { 'content-type': 'text/plain' };
    const body = batch.map(({ text }) => text).join('');
    const response = await request(wire, '/send?brief', {
      method: 'POST',
      headers,
      body,
      keepalive,
      signal,
    });
    // Without a text where all are accepted, for to read one costs half of a request.
    const answers = response.status != 204 && (await textOf(response, signal)).split('\n');
    for (const { settle } of batch) settle(answers ? refusalOf(answers.shift()) : undefined);
  } catch (error) {
    for (const { settle } of batch) settle(error);
  }
}

function refusalOf(text: string | undefined): GenBrowserError | undefined {
  let answer: { readonly status?: unknown } | undefined;
  try {
    answer = JSON.parse(text as string);
  } catch {
    // A request that a server's end cut short, or somebody else's answer.
  }
  return answer?.status == 202
    ? undefined
    : problemOf(answer, 'unexpected-answer', 'This is no answer');
}
