import { GenBrowserError } from './errors.js';
import type { Arrival } from './mailbox.js';
import { type Wire } from './request.js';
import type { Init } from './transport.js';
import type { Closed, Status } from './types.js';
/** What a connection tells its owner. */
export interface Owner {
    /** An `init` came, at each new stream. */
    onInit(init: Init): void;
    /** Whether the message goes to the program; if not, the next one tells of the gap before it. */
    onArrival(arrival: Arrival): boolean;
    onGap(missing: number): void;
    onStatus(status: Status): void;
    /** A stream, or the attempt to begin one, failed; it will be tried again. */
    onBreak(error: GenBrowserError | undefined): void;
    onError(error: unknown): void;
    /**
     * Whether to try again after a refusal, because the position was set to another one: to the mailbox's start when its
     * cursor is unknown, to a new mailbox when the one that was to be resumed is dead.
     */
    startsOver(error: GenBrowserError): boolean;
}
/** Where to read from. `cursor` moves on with every message that arrived. */
export interface Position {
    key: string | undefined;
    cursor: string | undefined;
}
/** Keeps a mailbox's messages coming until it ends or is ended. Returns what ends it. */
export declare function connect(wire: Wire, mode: 'auto' | 'sse' | 'long-poll', position: Position, owner: Owner): (closed: Closed) => void;
