import type { Envelope, Mailbox } from './types.js';
/** A message that arrived whole, on its way to the program. */
export interface Arrival {
    readonly envelope: Envelope;
    /** The position after it; absent if a server that is not ours left it out. */
    readonly cursor: string | undefined;
    /** The length of its JSON, as characters. */
    readonly size: number;
}
/** The mailbox that the program sees, with the end that the stream fills. */
export interface Queue extends Mailbox {
}
/**
 * @param taken is told of each message that the program took: for a handler, when it is done with it.
 * @param onError is told what a handler threw.
 */
export declare function createMailbox(taken: (arrival: Arrival) => void, onError: (error: unknown) => void): Queue;
/** Every message would count as taken by what is none. */
export declare function assertHandler(fn: unknown): void;
