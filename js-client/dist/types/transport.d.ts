import type { Wire } from './request.js';
import type { Address, Envelope, MailboxKey } from './types.js';
/** What the server tells of a mailbox before its first message. */
export interface Init {
    /** Absent if the key was narrowed to none of an address's rights. */
    readonly address?: Address;
    /** Only where this very request opened the mailbox. */
    readonly key?: MailboxKey;
    readonly cursor: string;
    readonly config: unknown;
    /** Milliseconds. */
    readonly heartbeat: number;
    readonly limits: {
        readonly body: number;
        readonly backlog: number;
        readonly backlogBytes: number;
    };
    /** Messages missing between the position that was asked for and the first one kept. */
    readonly gap?: number;
}
/** What a transport tells while it reads. */
export interface Listener {
    /** Something came, a heartbeat at least: the connection works. */
    alive(): void;
    /** First, before any message. */
    open(init?: Init): void;
    /** Whether an `init` was told before, so that the next may be left out. */
    known(): boolean;
    /** A message, the length of its JSON, and the position after it. */
    message(envelope: Envelope, size: number, cursor: string | undefined): void;
    gap(missing: number): void;
    /** Everything up to here was told. */
    cursor(cursor: string): void;
    /** An event that no version of the protocol sends. */
    error(error: unknown): void;
}
/** The server's last word on a stream. */
export interface Bye {
    readonly reason?: string;
    /** Milliseconds; absent where coming back makes no sense. */
    readonly retry?: number;
}
/**
 * Reads a mailbox (opening it where there is no key) until the server or the signal ends it. Resolves when the
 * connection ended, with what the server said at the end; rejects when it failed.
 */
export type Transport = (wire: Wire, position: {
    readonly key: string | undefined;
    readonly cursor: string | undefined;
}, listener: Listener, signal: AbortSignal) => Promise<Bye | undefined>;
