/** The way to one server: what every request has in common. */
export interface Wire {
    /** The server's URL with the prefix, without a slash at its end. */
    readonly base: string;
    readonly fetch: typeof fetch;
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
/** Like {@link request}, and gives up after `timeout` milliseconds, in which the answer must be read as well. */
export declare function requestWithin<T = Response>(wire: Wire, path: string, init: Omit<RequestInit, 'signal'>, timeout: number, signal?: AbortSignal, read?: (response: Response, _: AbortSignal) => T | Promise<T>): Promise<T>;
/** Rejects unless that is the answer's status. A proxy, or a page to log in at, answers 200 for a server that never heard. */
export declare function only(status: number): (response: Response) => void;
/** The headers that prove the ownership of a mailbox. A key never travels in a URL. */
export declare function bearer(key: string): {
    authorization: string;
};
/** The headers of a request that reads a mailbox, or opens one. */
export declare function readerHeaders(accept: string, key: string | undefined, cursor: string | undefined): Record<string, string>;
