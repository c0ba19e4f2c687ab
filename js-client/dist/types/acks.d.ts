import { type Wire } from './request.js';
import type { Init } from './transport.js';
/**
 * Acknowledges what the program took, so that the server forgets it and has room for more. What merely arrived is
 * not acknowledged: a program that falls behind makes its senders wait.
 */
export interface Acks {
    /** The program took a message. */
    taken(cursor: string | undefined, size: number): void;
    /** A mailbox is open, with these limits. */
    open(limits: Init['limits'], key: string): void;
    /** Acknowledges all that was taken, and nothing from then on. Never rejects. */
    finish(keep: boolean): Promise<void>;
}
/** @param cursor a position that was resumed from: what came before it was taken, and may be unacknowledged. */
export declare function createAcks(wire: Wire, cursor: string | undefined): Acks;
