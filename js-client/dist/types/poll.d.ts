import type { Transport } from './transport.js';
/** How long a server may wait for the first message of an answer, in milliseconds. */
export declare const WAIT = 25000;
/** Reads a mailbox by one request after another, for networks that hold streams back. */
export declare const poll: Transport;
