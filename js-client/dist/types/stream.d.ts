import type { Transport } from './transport.js';
/**
 * Reads a mailbox as an event stream. Native EventSource is not used: it can't send the key in a header, and keeps
 * the status of a refusal to itself.
 */
export declare const stream: Transport;
