import { type Wire } from './request.js';
import type { Address, RequestOptions } from './types.js';
/** Asks for the address of an exported process. */
export declare function whereis(wire: Wire, name: string, { timeout, signal }?: RequestOptions): Promise<Address | undefined>;
