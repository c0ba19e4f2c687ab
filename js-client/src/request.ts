import { errorOf, GenBrowserError } from './errors.js';
import type { Outbox } from './outbox.js';

/** The way to one server: what every request has in common. */
export interface Wire {
  /** The server's URL with the prefix, without a slash at its end. */
  readonly base: string;
  readonly fetch: typeof fetch;
  readonly outbox: Outbox;
}

/** setTimeout takes no longer one, 24 days: it would fire at once. */
const LONGEST = 2 ** 31 - 1;

/** Calls `late` after `ms` milliseconds, never for `Infinity` and the like. Returns what cancels it. */
export function after(ms: number, late: () => void): () => void {
  const timer = ms > LONGEST ? undefined : setTimeout(late, ms);
  return () => clearTimeout(timer);
}

/** Waits so many milliseconds, or until it is skipped. */
export function pause(ms: number): { readonly over: Promise<void>; skip(): void } {
  let skip = () => {};
  const over = new Promise<void>(resolve => {
    const stop = after(ms, resolve);
    skip = () => {
      stop();
      resolve();
    };
  });
  return { over, skip };
}

/** Calls `aborted` with the signal's reason, also if it was aborted before. Returns what cancels it. */
export function onAbort(
  signal: AbortSignal | undefined,
  aborted: (reason: unknown) => void,
): () => void {
  const listener = () => aborted(signal?.reason);
  if (signal?.aborted) listener();
  else signal?.addEventListener('abort', listener);
  return () => signal?.removeEventListener('abort', listener);
}

/** One request. Rejects with the signal's reason, with `network`, or with what the server's answer says. */
export async function request(wire: Wire, path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await wire.fetch(wire.base + path, init);
  } catch (cause) {
    throw asNetworkError(cause, init.signal);
  }
  if (response.ok) return response;
  const error = await errorOf(response);
  // Its reading may have been cut short.
  throw init.signal?.aborted ? init.signal.reason : error;
}

/** What a request or a read that failed without an answer rejects with. */
export function asNetworkError(cause: unknown, signal?: AbortSignal | null): unknown {
  return signal?.aborted
    ? signal.reason
    : new GenBrowserError('network', "The server can't be reached", cause);
}

/** The text of an answer. Rejects as {@link request} does. */
export async function textOf(response: Response, signal: AbortSignal): Promise<string> {
  try {
    return await response.text();
  } catch (cause) {
    throw asNetworkError(cause, signal);
  }
}

/** Does something for `timeout` milliseconds at most, or until the signal says otherwise, and aborts it then. */
export async function within<T>(
  timeout: number,
  signal: AbortSignal | undefined,
  doing: (signal: AbortSignal) => Promise<T>,
  code = 'timeout',
  cause = (): unknown => undefined,
): Promise<T> {
  if (signal?.aborted) throw signal.reason;
  const over = () => new GenBrowserError(code, `No answer within ${timeout} ms`, cause());
  if (!(timeout > 0)) throw over();
  const attempt = new AbortController();
  const stopTimer = after(timeout, () => attempt.abort(over()));
  const stopListening = onAbort(signal, reason => attempt.abort(reason));
  const givenUp = new Promise<never>((_, reject) => {
    onAbort(attempt.signal, reject);
  });
  try {
    return await Promise.race([doing(attempt.signal), givenUp]);
  } finally {
    stopTimer();
    stopListening();
  }
}

/**
 * The text of what answers one request within `timeout` milliseconds. Rejects if that has another status: a proxy, or a page to
 * log in at, answers for a server that never heard.
 */
export function requestWithin(
  wire: Wire,
  path: string,
  init: Omit<RequestInit, 'signal'>,
  timeout: number,
  signal?: AbortSignal,
  status = 204,
): Promise<string> {
  return within(timeout, signal, async signal => {
    const response = await request(wire, path, { ...init, signal });
    if (response.status != status)
      throw new GenBrowserError(
        'unexpected-answer',
        `The server answered ${response.status}`,
        undefined,
        response,
      );
    return textOf(response, signal);
  });
}

/** The headers that prove the ownership of a mailbox. A key never travels in a URL. */
export function bearer(key: string): { authorization: string } {
  return { authorization: `Bearer ${key}` };
}

/** The headers of a request that reads a mailbox, or opens one. */
export function readerHeaders(
  accept: string,
  key: string | undefined,
  cursor: string | undefined,
): Record<string, string> {
  return {
    accept,
    ...(key && bearer(key)),
    // In a header rather than in the URL, so that the answer to a preflight can be used again. What no header takes makes no
    // sense to the server either, and that is what it must say.
    ...(cursor && { 'last-event-id': `${cursor}`.replace(/[^!-~]/g, '?') }),
  };
}
