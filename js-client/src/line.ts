import { assertAddress } from './address.js';
import { delayAfter } from './backoff.js';
import { GenBrowserError, problemOf } from './errors.js';
import { after, onAbort, pause, requestWithin, textOf, type Wire } from './request.js';
import { serialize } from './send.js';
import type { Address, RequestOptions } from './types.js';

/** Milliseconds that the first attempt may take; each one after it has twice the time. */
const ATTEMPT = 5_000;

/** One line of what is sent with a kind, and how it counts as done. */
export interface Line {
  readonly text: string;
  /** The codes that, after an attempt without an answer, tell that it had arrived. */
  readonly done?: readonly string[];
  /** Somebody waits for it: while there is no room, it is repeated as well. */
  readonly answers?: boolean;
}

interface Members {
  readonly to: Address;
  readonly kind: string;
  readonly id?: string;
  readonly ref?: string | undefined;
  readonly reply?: Address;
}

/** The codes by which the other one is at its end. */
export const ENDED = ['closed', 'expired', 'gone'];

/** The text of a line. The key of a mailbox is never sent in one. */
export function lineOf(members: Members, message: unknown): string {
  assertAddress(members.to);
  return `${JSON.stringify(members).slice(0, -1)},"body":${serialize(message)}}\n`;
}

/**
 * Sends a line, and again for as long as the server can't be reached: its `id` lets it do no more than once. Settles as
 * what `outcome` makes of its acceptance, or when the time is over or the signal says so.
 */
export async function post<T = void>(
  wire: Wire,
  line: Line,
  { timeout = 30_000, signal }: RequestOptions = {},
  outcome: (accepted: Promise<void>) => Promise<T> = accepted => accepted as Promise<T>,
  late = 'timeout',
): Promise<T> {
  if (signal?.aborted) throw signal.reason;
  let failed: unknown;
  const over = () => new GenBrowserError(late, `No answer within ${timeout} ms`, failed);
  if (!(timeout > 0)) throw over();

  const attempts = new AbortController();
  const stopTimer = after(timeout, () => attempts.abort(over()));
  const stopListening = onAbort(signal, reason => attempts.abort(reason));
  const givenUp = new Promise<never>((_, reject) => {
    onAbort(attempts.signal, reject);
  });
  const accepted = repeat(wire, line, attempts.signal, error => {
    failed = error;
  });
  try {
    return await Promise.race([outcome(accepted), givenUp]);
  } finally {
    stopTimer();
    stopListening();
    attempts.abort();
  }
}

async function repeat(
  wire: Wire,
  { text, done = [], answers }: Line,
  signal: AbortSignal,
  onFailure: (error: GenBrowserError) => void,
): Promise<void> {
  let lost = false; // an attempt may have arrived
  for (let failures = 0; ; ) {
    try {
      return await attempt(wire, text, ATTEMPT * 2 ** failures, signal);
    } catch (cause) {
      if (signal.aborted) throw cause;
      const error = cause as GenBrowserError;
      onFailure(error);
      if (lost && done.includes(error.code)) return;
      // No answer, or one that says that there is none at the moment.
      const { status = Infinity } = error;
      if (status < 502 && !(answers && status == 429)) throw error;
      lost ||= status != 429;
      const waiting = pause(delayAfter(error, ++failures));
      const stopListening = onAbort(signal, waiting.skip);
      await waiting.over;
      stopListening();
      if (signal.aborted) throw signal.reason;
    }
  }
}

async function attempt(
  wire: Wire,
  body: string,
  timeout: number,
  signal: AbortSignal,
): Promise<void> {
  // As text/plain a page on another origin sends it without a preflight.
  const init = { method: 'POST', headers: { 'content-type': 'text/plain' }, body };
  const text = await requestWithin(wire, '/send', init, timeout, signal, textOf);
  let answer: { readonly status?: unknown } | undefined;
  try {
    answer = JSON.parse(text);
  } catch {
    // A request that a server's end cut short, or somebody else's answer.
  }
  if (answer?.status != 202) throw problemOf(answer, 'unexpected-answer', 'This is no answer');
}
