import { GenBrowserError } from './errors.js';
import type { Address, MailboxKey } from './types.js';

/** What one may do with a capability. The first five make an address, the rest are its owner's. */
export type Right =
  | 'send'
  | 'call'
  | 'monitor'
  | 'link'
  | 'exit'
  | 'read'
  | 'ack'
  | 'close'
  | 'mint'
  | 'revoke';

/** What is taken away from a capability. Nobody who is given the narrowed one can undo it. */
export interface Restriction {
  /** Only these, of the rights that it has. */
  readonly rights?: readonly Right[];
  /** Until then: a Date, or whole seconds since 1970. */
  readonly expires?: Date | number;
  /** Only messages with at most so many bytes of JSON. */
  readonly maxBytes?: number;
  /** Only objects whose member `type` is one of these. */
  readonly types?: readonly string[];
  /** The receiver sees it as `via`: 1–64 bytes of UTF-8, no control characters. */
  readonly label?: string;
  /**
   * Only one message of kind `reply` or `failure`, with this as its `ref`: 1–128 printable ASCII characters, no spaces.
   * `call` does this by itself.
   */
  readonly reply?: string;
}

/** Whether this is the text of an address. Only the server can tell whether it is genuine. */
export function isAddress(value: unknown): value is Address {
  return typeof value == 'string' && /^gba_[\w-]{27,508}$/.test(value);
}

/** Whether this may be the key of a mailbox. */
export function isKey(value: unknown): boolean {
  return typeof value == 'string' && /^gbk_[\w-]+$/.test(value);
}

/** @throws GenBrowserError `malformed-address` unless this is the text of an address. */
export function assertAddress(value: unknown): asserts value is Address {
  if (!isAddress(value)) throw malformedAddress();
}

// token = version:1 | key id:1 | target | caveat* | tag:16
// target = 0x01 | id:16, or 0x02 | length:1 | name
// caveat = type:1 | length:1 | value
const TAG = 16;
// The bit of a right's flag is its place here; the owner's rights are the second byte.
const RIGHTS = 'send call monitor link exit - - - read ack close mint revoke'.split(' ');
const OWNER = 8;

/**
 * Narrows a capability, with no server's help: hand out an address that may only send, expires, or carries a label
 * that tells who used it.
 *
 * @throws GenBrowserError `malformed-address`, `malformed-restriction`, or `unsupported` where there is no WebCrypto.
 */
export function attenuate(capability: Address, restriction: Restriction): Promise<Address>;
export function attenuate(
  capability: MailboxKey,
  restriction: Restriction,
): Promise<Address | MailboxKey>;
export async function attenuate(text: string, restriction: Restriction): Promise<string> {
  const token = decode(text);
  const end = token.length - TAG;
  let flags = -1;
  let count = 0;
  let tag = token.slice(end);
  const narrow = (type: number, value: Uint8Array | readonly number[]) => {
    count++;
    if (type == 1) flags &= (value[0] ?? 0) | ((value[1] ?? 0) << OWNER);
  };

  for (let at = token[2] == 1 ? 19 : 4 + (token[3] ?? 0); at != end; ) {
    const next = at + 2 + (token[at + 1] ?? 0);
    if (next > end) throw malformedAddress();
    narrow(token[at] ?? 0, token.subarray(at + 2, next));
    at = next;
  }

  const parts = [...token.subarray(0, end)];
  for (const [type, value] of caveatsOf(restriction)) {
    const caveat = [type, value.length, ...value];
    narrow(type, value);
    tag = await hmac(tag, caveat);
    parts.push(...caveat);
  }
  const narrowed = (flags >> OWNER ? 'gbk_' : 'gba_') + encode([...parts, ...tag]);
  if (count > 16 || narrowed.length > 512) throw malformed('The capability would be too long');
  return narrowed;
}

function* caveatsOf({
  rights,
  expires,
  maxBytes,
  types,
  label,
  reply,
}: Restriction): Generator<[type: number, value: readonly number[]]> {
  if (rights) {
    let flags = 0;
    for (const right of rights) {
      const bit = RIGHTS.indexOf(right);
      if (bit < 0) throw malformed(`There is no right ${right}`);
      flags |= 1 << bit;
    }
    const [first, second] = [flags & 255, flags >> OWNER];
    yield [1, second ? [first, second] : [first]];
  }
  if (expires !== undefined) {
    const seconds = expires instanceof Date ? Math.floor(expires.getTime() / 1000) : expires;
    // Milliseconds since 1970, by mistake, would make a capability that never expires.
    if (seconds > 1.5e12) throw malformed('A number of expires is in seconds; or give a Date');
    yield [2, uint(seconds)];
  }
  if (maxBytes !== undefined) yield [3, uint(maxBytes)];
  if (types) {
    const value = types.flatMap(type => {
      const bytes = utf8(type);
      return [bytes.length, ...bytes];
    });
    if (!value.length || value.length > 255) throw malformed('The types take 1 to 255 bytes');
    yield [4, value];
  }
  if (label !== undefined) {
    const value = utf8(label);
    if (!value.length || value.length > 64 || /\p{Cc}/u.test(label))
      throw malformed('A label has 1 to 64 bytes of UTF-8, and no control characters');
    yield [5, value];
  }
  if (reply !== undefined) {
    if (!/^[!-~]{1,128}$/.test(reply))
      throw malformed('A ref has 1 to 128 printable ASCII characters, no spaces');
    yield [9, utf8(reply)];
  }
}

/** 1 to 6 bytes, big-endian, with no leading zero unless it is the only one. */
function uint(value: number): number[] {
  if (!(Number.isInteger(value) && value >= 0 && value < 2 ** 48))
    throw malformed(`${value} is not a whole number below 2^48`);
  const bytes = [value % 256];
  for (let rest = Math.floor(value / 256); rest; rest = Math.floor(rest / 256))
    bytes.unshift(rest % 256);
  return bytes;
}

function utf8(text: string): number[] {
  return [...new TextEncoder().encode(text)];
}

async function hmac(key: Uint8Array<ArrayBuffer>, data: readonly number[]) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle)
    throw new GenBrowserError('unsupported', 'There is no WebCrypto here; a page has it on https');
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const signer = await subtle.importKey('raw', key, algorithm, false, ['sign']);
  return new Uint8Array(await subtle.sign('HMAC', signer, new Uint8Array(data)), 0, TAG);
}

function decode(text: string): Uint8Array<ArrayBuffer> {
  const [, digits] = /^gb[ak]_([\w-]{27,508})$/.exec(text) ?? [];
  if (!digits || digits.length % 4 == 1) throw malformedAddress();
  const bytes = atob(digits.replace(/-/g, '+').replace(/_/g, '/'));
  const token = Uint8Array.from(bytes, byte => byte.charCodeAt(0));
  if (encode([...token]) != digits || token[0] != 1) throw malformedAddress();
  return token;
}

/** base64url, without padding. */
export function encode(bytes: readonly number[]): string {
  return btoa(String.fromCharCode(...bytes))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=/g, '');
}

function malformedAddress(): GenBrowserError {
  return new GenBrowserError('malformed-address', 'This is not the text of an address');
}

function malformed(detail: string): GenBrowserError {
  return new GenBrowserError('malformed-restriction', detail);
}
