import { type Wire } from './request.js';
import type { Init } from './transport.js';
/**
 * Acknowledges what the program took, so that the server forgets it and has room for more. What merely arrived is
 * not acknowledged: a program that falls behind makes its senders wait.
 */
export interface Acks {
    /** The program took a message. */
    taken(cursor: string | undefined, size: number): void;
    /**
     * A stream is open. At the first one, `from` is the position that was resumed from: what came before it was taken,
     * and may be unacknowledged.
     */
    open(limits: Init['limits'], key: string, from: string | undefined): void;
    /** Acknowledges all that was taken, and nothing from then on. Never rejects. */
    finish(keep: boolean): Promise<void>;
}
export declare function createAcks(wire: Wire): Acks;
