import { type Wire } from './request.js';
import type { Address, SendOptions } from './types.js';
/** Sends one message, and resolves when the server has accepted it. */
export declare function send(wire: Wire, to: Address, message: unknown, { id, ttl, timeout, signal, keepalive }?: SendOptions): Promise<void>;
/** The JSON of a message. */
export declare function serialize(message: unknown): string;
