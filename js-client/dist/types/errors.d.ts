/**
 * What went wrong, as a word to branch on. The first group is the client's own, the second is the server's
 * (PROTOCOL.md lists when each comes). A newer server may send a code that is not in this list.
 */
export type ErrorCode = 
/** No answer: refused, reset, DNS, CORS, or a proxy that spoke instead of the server. */
'network'
/** The time that was given is over. */
 | 'timeout'
/** The message has no JSON: undefined, a function, a symbol, a cycle, or a BigInt in it. */
 | 'unserializable'
/** The mailbox is being read another way, or was given a second handler. */
 | 'busy'
/** What answered is not a GenBrowser server: `status` tells how it answered. */
 | 'unexpected-answer'
/** `attenuate` was given a restriction that has no meaning. */
 | 'malformed-restriction'
/** The runtime has no WebCrypto; a page gets it on https and on localhost only. */
 | 'unsupported'
/** The mailbox was closed by its owner: by `close()`, or by another holder of its key. */
 | 'closed' | 'malformed-request' | 'malformed-address' | 'malformed-cursor' | 'malformed-json' | 'invalid-utf8' | 'empty-body' | 'malformed-envelope' | 'missing-key' | 'invalid-capability' | 'capability-expired' | 'missing-right' | 'type-not-allowed' | 'unsupported-caveat' | 'origin-not-allowed' | 'open-refused' | 'operators-only' | 'disconnected' | 'name-not-allowed' | 'not-a-reply-address' | 'not-found' | 'not-exported' | 'not-connected' | 'method-not-allowed' | 'not-acceptable' | 'name-taken' | 'replied' | 'unknown-cursor' | 'expired' | 'gone' | 'taken-over' | 'too-large' | 'unsupported-media-type' | 'cursor-ahead' | 'refused' | 'full' | 'too-many-messages' | 'too-many-streams' | 'too-many-requests' | 'too-many-opens' | 'too-many-mailboxes' | 'too-many-monitors' | 'internal'
/** The callee threw, or crashed on the call; `detail` is what it said. */
 | 'call-failed' | 'shutting-down' | 'sent-away' | 'unavailable' | 'overloaded'
/** No reply came in time. The callee may have handled the call all the same. */
 | 'call-timeout' | (string & {});
/** Every failure that this client reports, apart from the reason of an `AbortSignal`, which is passed on as it is. */
export declare class GenBrowserError extends Error {
    /** What went wrong, as a word to branch on. */
    readonly code: ErrorCode;
    /** What went wrong, as a sentence for people. */
    readonly detail: string;
    readonly name = "GenBrowserError";
    /** The HTTP status, where the server (or a proxy) answered. */
    readonly status?: number | undefined;
    /** Seconds after which the server suggests to try again. */
    readonly retryAfter?: number | undefined;
    constructor(
    /** What went wrong, as a word to branch on. */
    code: ErrorCode, 
    /** What went wrong, as a sentence for people. */
    detail: string, 
    /** What this error was made from: what that knows of an answer, this one knows as well. */
    cause?: unknown, known?: Partial<GenBrowserError> | undefined);
}
/** Whether the same request would fail again: of the refusals that blame the client, all but those that pass. */
export declare function isLasting(error: GenBrowserError): boolean;
/** Turns an answer that is not 2xx into an error: a problem (RFC 9457) where it is one. */
export declare function errorOf(response: Response): Promise<GenBrowserError>;
/** Turns a problem (RFC 9457) into an error; what is none has this code and detail. */
export declare function problemOf(value: unknown, otherwise: ErrorCode, detail: string): GenBrowserError;
/** What was thrown, as a text that fits into a message, however many bytes its characters take. */
export declare function messageOf(thrown: unknown): string;
