import { assertAddress } from './address.js';
import { delayAfter } from './backoff.js';
import { GenBrowserError, messageOf } from './errors.js';
import { deliver, type Letter } from './outbox.js';
import { onAbort, pause, type Wire, within } from './request.js';
import type { Address, RequestOptions } from './types.js';

/** Milliseconds that the first attempt may take; each one after it has twice the time. */
const ATTEMPT = 5_000;

/** One line of what is sent with a kind, and how it counts as done. */
export interface Line {
  readonly letter: Letter;
  /** The codes that, after an attempt without an answer, tell that it had arrived. */
  readonly done?: readonly string[];
  /** Somebody waits for it: while there is no room, it is repeated as well. */
  readonly answers?: boolean;
}

interface Members {
  readonly to: Address;
  readonly kind?: string;
  readonly id?: string | undefined;
  readonly ttl?: number | undefined;
  readonly ref?: string | undefined;
  readonly reply?: Address;
}

/** The codes by which the other one is at its end. */
export const ENDED = ['closed', 'expired', 'gone'];

/** What is sent as a line. The key of a mailbox is never sent in one. */
export function letterOf(members: Members, message: unknown): Letter {
  const { to } = members;
  assertAddress(to);
  return { to, text: `${JSON.stringify(members).slice(0, -1)},"body":${serialize(message)}}\n` };
}

/**
 * Sends a line, and again for as long as the server can't be reached: its `id` lets it do no more than once. Settles as
 * what `outcome` makes of its acceptance, or when the time is over or the signal says so.
 */
export function post<T = void>(
  wire: Wire,
  line: Line,
  { timeout = 30_000, signal }: RequestOptions = {},
  outcome: (accepted: Promise<void>) => Promise<T> = accepted => accepted as Promise<T>,
  late?: string,
): Promise<T> {
  let failed: unknown;
  const fail = (error: unknown) => {
    failed = error;
  };
  const attempts = new AbortController();
  return within(
    timeout,
    signal,
    signal => {
      onAbort(signal, reason => attempts.abort(reason));
      return outcome(repeat(wire, line, attempts.signal, fail));
    },
    late,
    () => failed,
  ).finally(() => attempts.abort());
}

async function repeat(
  wire: Wire,
  { letter, done = [], answers }: Line,
  signal: AbortSignal,
  onFailure: (error: GenBrowserError) => void,
): Promise<void> {
  let lost = false; // an attempt may have arrived
  for (let failures = 0; ; ) {
    try {
      return await deliver(wire, letter, ATTEMPT * 2 ** failures, signal);
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

/** The JSON of a message. */
function serialize(message: unknown): string {
  let cause: unknown;
  try {
    const body = JSON.stringify(message);
    if (body !== undefined) return body;
  } catch (error) {
    cause = error;
  }
  throw new GenBrowserError(
    'unserializable',
    `The message has no JSON: ${cause ? messageOf(cause) : typeof message}`,
    cause,
  );
}
