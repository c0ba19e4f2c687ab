import { type GenBrowserError } from './errors.js';
import type { Wire } from './request.js';
import type { Address, Client, Envelope } from './types.js';
/** What this client asked of others, and the way of the answers to who asked. */
export interface Calls extends Pick<Client, 'call' | 'monitor' | 'link'> {
    /** Whether the message answers this client, or did: then it is none of the program's mailbox. */
    take(envelope: Envelope): boolean;
    /** No answer can come any more. */
    end(error: GenBrowserError): void;
}
/** @param tell runs a callback of the program, whose faults are its own. */
export declare function createCalls(wire: Wire, self: () => Address, tell: <T>(callback: ((value: T) => void) | undefined, value: T) => void): Calls;
export declare function random(bytes: number): string;
