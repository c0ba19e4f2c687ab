import { isAddress } from './address.js';
import { GenBrowserError } from './errors.js';
import { requestWithin, type Wire } from './request.js';
import type { Address, RequestOptions } from './types.js';

/** Asks for the address of an exported process. */
export async function whereis(
  wire: Wire,
  name: string,
  { timeout = 30_000, signal }: RequestOptions = {},
): Promise<Address | undefined> {
  // No URL leads to such a name: fetch takes the dots for a way out of the path, and no server's name has the others.
  if (/(^|\/)\.\.?(\/|$)|[\n\p{Cs}]/u.test(name)) return undefined;
  // A name may have slashes, and some proxies refuse those that are escaped.
  const path = `/whereis/${encodeURIComponent(name).replaceAll('%2F', '/')}`;
  try {
    const text = await requestWithin(wire, path, { cache: 'no-store' }, timeout, signal, 200);
    const { address } = JSON.parse(text);
    if (isAddress(address)) return address;
  } catch (error) {
    if (!(error instanceof SyntaxError)) {
      if ((error as GenBrowserError).code == 'not-exported') return undefined;
      throw error;
    }
  }
  throw new GenBrowserError('unexpected-answer', 'The answer is not an address');
}
