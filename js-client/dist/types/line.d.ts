import { type Letter } from './outbox.js';
import { type Wire } from './request.js';
import type { Address, RequestOptions } from './types.js';
/** One line of what is sent with a kind, and how it counts as done. */
export interface Line {
    readonly letter: Letter;
    /** The codes that, after an attempt without an answer, tell that it had arrived. */
    readonly done?: readonly string[];
    /** Somebody waits for it: while there is no room, it is repeated as well. */
    readonly answers?: boolean;
}
interface Members {
    readonly to: Address;
    readonly kind?: string;
    readonly id?: string | undefined;
    readonly ttl?: number | undefined;
    readonly ref?: string | undefined;
    readonly reply?: Address;
}
/** The codes by which the other one is at its end. */
export declare const ENDED: string[];
/** What is sent as a line. The key of a mailbox is never sent in one. */
export declare function letterOf(members: Members, message: unknown): Letter;
/**
 * Sends a line, and again for as long as the server can't be reached: its `id` lets it do no more than once. Settles as
 * what `outcome` makes of its acceptance, or when the time is over or the signal says so.
 */
export declare function post<T = void>(wire: Wire, line: Line, { timeout, signal }?: RequestOptions, outcome?: (accepted: Promise<void>) => Promise<T>, late?: string): Promise<T>;
export {};
