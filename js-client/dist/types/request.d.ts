import type { Outbox } from './outbox.js';
/** The way to one server: what every request has in common. */
export interface Wire {
    /** The server's URL with the prefix, without a slash at its end. */
    readonly base: string;
    readonly fetch: typeof fetch;
    readonly outbox: Outbox;
}
/** Calls `late` after `ms` milliseconds, never for `Infinity` and the like. Returns what cancels it. */
export declare function after(ms: number, late: () => void): () => void;
/** Waits so many milliseconds, or until it is skipped. */
export declare function pause(ms: number): {
    readonly over: Promise<void>;
    skip(): void;
};
/** Calls `aborted` with the signal's reason, also if it was aborted before. Returns what cancels it. */
export declare function onAbort(signal: AbortSignal | undefined, aborted: (reason: unknown) => void): () => void;
/** One request. Rejects with the signal's reason, with `network`, or with what the server's answer says. */
export declare function request(wire: Wire, path: string, init: RequestInit): Promise<Response>;
/** What a request or a read that failed without an answer rejects with. */
export declare function asNetworkError(cause: unknown, signal?: AbortSignal | null): unknown;
/** The text of an answer. Rejects as {@link request} does. */
export declare function textOf(response: Response, signal: AbortSignal): Promise<string>;
/** Does something for `timeout` milliseconds at most, or until the signal says otherwise, and aborts it then. */
export declare function within<T>(timeout: number, signal: AbortSignal | undefined, doing: (signal: AbortSignal) => Promise<T>, code?: string, cause?: () => unknown): Promise<T>;
/**
 * The text of what answers one request within `timeout` milliseconds. Rejects if that has another status: a proxy, or a page to
 * log in at, answers for a server that never heard.
 */
export declare function requestWithin(wire: Wire, path: string, init: Omit<RequestInit, 'signal'>, timeout: number, signal?: AbortSignal, status?: number): Promise<string>;
/** The headers that prove the ownership of a mailbox. A key never travels in a URL. */
export declare function bearer(key: string): {
    authorization: string;
};
/** The headers of a request that reads a mailbox, or opens one. */
export declare function readerHeaders(accept: string, key: string | undefined, cursor: string | undefined): Record<string, string>;
