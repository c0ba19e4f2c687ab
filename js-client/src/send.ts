import { assertAddress } from './address.js';
import { GenBrowserError, messageOf } from './errors.js';
import { only, requestWithin, type Wire } from './request.js';
import type { Address, SendOptions } from './types.js';

/** Sends one message, and resolves when the server has accepted it. */
export async function send(
  wire: Wire,
  to: Address,
  message: unknown,
  { id, ttl, timeout = 30_000, signal, keepalive = false }: SendOptions = {},
): Promise<void> {
  // Checked here as well, because a key that was mistaken for an address must not get into a URL.
  assertAddress(to);

  // As text/plain, which the server takes for JSON, a page on another origin sends without a preflight.
  const headers: Record<string, string> = { 'content-type': 'text/plain' };
  if (id !== undefined) {
    // Checked here as well, because fetch would trim it, or fail as if the network did.
    if (!/^[!-~]{1,128}$/.test(id))
      throw new GenBrowserError(
        'malformed-request',
        'An id has 1 to 128 printable ASCII characters, no spaces',
      );
    headers['idempotency-key'] = id;
  }
  if (ttl !== undefined) headers.ttl = String(ttl);
  const body = serialize(message);
  await requestWithin(
    wire,
    `/send/${to}`,
    { method: 'POST', headers, body, keepalive },
    timeout,
    signal,
    only(202),
  );
}

/** The JSON of a message. */
export function serialize(message: unknown): string {
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
