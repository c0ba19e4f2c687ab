import type { GenBrowserError } from './errors.js';
declare const kind: unique symbol;
/**
 * The right to send to, call, monitor and link with a mailbox or a process, unless it was narrowed, as text. It may be put anywhere in a message. A string that came
 * from elsewhere becomes one by `isAddress`.
 */
export type Address = string & {
    readonly [kind]: 'address';
};
/** The right to read, acknowledge and close one mailbox, as text. A secret: whoever has it is the mailbox's owner. */
export type MailboxKey = string & {
    readonly [kind]: 'key';
};
/** A message with what travelled around its body. */
export interface Envelope<T = unknown> {
    /** The message: any JSON value, `null`, `0`, `false` and `""` among them. */
    readonly body: T;
    /**
     * `message`, unless its sender said otherwise: a `call` wants a reply (see `client.reply` and `client.serve`), and
     * `exited` says that one who linked itself to this mailbox ended; its body is a {@link Down}. The answers to what
     * this client asked for don't come as messages.
     */
    readonly kind: 'message' | 'call' | 'exited' | (string & {});
    /** What the reply to a call repeats, or by which link an `exited` came. */
    readonly ref?: string;
    /** Where the reply to a call goes, and nothing else. */
    readonly reply?: Address;
    /** The labels of the address that was used, outermost last. */
    readonly via?: readonly string[];
    /** The W3C traceparent that came with the message. */
    readonly trace?: string;
    /** How many messages are missing just before this one; `Infinity` if nobody knows. Absent if none. */
    readonly gap?: number;
}
/**
 * Why a mailbox takes no more messages.
 *
 * - `closed`: by its owner. With no `error` that was this program's own `close()`.
 * - `expired`: nobody read it for too long, or the key's time is over.
 * - `gone`: the server has no such mailbox any more.
 * - `taken-over`: another reader (another tab with the same storage) reads it now.
 * - `error`: the server refuses for good; `error` tells why.
 */
export type ClosedReason = 'closed' | 'expired' | 'gone' | 'taken-over' | 'error';
/** The end: the mailbox is never read again by this client. */
export interface Closed {
    readonly state: 'closed';
    readonly reason: ClosedReason;
    /** Absent when the program itself closed the client. */
    readonly error?: GenBrowserError;
}
/** How a client stands with its server. */
export type Status = {
    readonly state: 'connecting';
} | {
    readonly state: 'open';
    readonly transport: 'sse' | 'long-poll';
}
/** The stream broke, because of `error` if that is known. Messages wait at the server meanwhile. */
 | {
    readonly state: 'reconnecting';
    readonly error?: GenBrowserError;
} | Closed;
/** Where a mailbox survives a reload: `sessionStorage`, `localStorage`, or anything with these three. */
export interface MailboxStorage {
    getItem(name: string): string | null;
    setItem(name: string, value: string): void;
    removeItem(name: string): void;
}
export interface StartOptions {
    /** Where the server's routes lie. Default `/_gb`. */
    readonly prefix?: string;
    /** Resume the mailbox of this key, instead of opening a new one. If it is dead, `start` rejects. */
    readonly key?: string;
    /** With `key`: read the messages after this position. Default: those after the last acknowledged one, so that what was taken last may come again. */
    readonly cursor?: string;
    /**
     * Keeps the key and the position of the last message that the program took, so that the mailbox survives a
     * reload. `sessionStorage` gives every tab a mailbox of its own, unless the tab is a copy of another (duplicated, or
     * opened by `window.open`): that one goes on with the mailbox, and the other's client is `taken-over`. If the mailbox
     * died meanwhile, a new one is opened and `client.resumed` is false. Not used when `key` is given. Default: none.
     */
    readonly storage?: MailboxStorage;
    /** Milliseconds until `start` rejects, trying again until then. Default 15,000; 0 rejects at once; `Infinity` never. */
    readonly timeout?: number;
    /** Gives up starting. Once `start` resolved, use `client.close()`. */
    readonly signal?: AbortSignal;
    /** Default: the runtime's own. */
    readonly fetch?: typeof fetch;
    /** `auto` streams, and turns to long-polling where a proxy holds streams back. Default `auto`. */
    readonly transport?: 'auto' | 'sse' | 'long-poll';
    /** Called at every change of `client.status`, from the first on. */
    readonly onStatus?: (status: Status) => void;
    /** Called when messages are missing, with their number; `Infinity` if nobody knows. */
    readonly onGap?: (missing: number) => void;
    /** Called with what a handler or a callback of the program threw. Default: `console.error`. */
    readonly onError?: (error: unknown) => void;
}
export interface SendOptions {
    /** Names the message, so that the server takes a repetition of it only once: 1–128 printable ASCII characters, no spaces. */
    readonly id?: string;
    /** Seconds after which the message is dropped if nobody read it: a whole number above 0. Default: never. */
    readonly ttl?: number;
    /** Milliseconds until `send` rejects. The message may have arrived all the same. Default 30,000. */
    readonly timeout?: number;
    /** Gives up sending. The message may have arrived all the same. */
    readonly signal?: AbortSignal;
    /** Lets the message leave although the page is going away. Browsers take at most 64 KiB of such bodies at once. */
    readonly keepalive?: boolean;
}
export interface CallOptions {
    /** Milliseconds until `call` rejects with `call-timeout`, trying to reach the server until then. Default 10,000. */
    readonly timeout?: number;
    /** Gives up waiting. The call may be handled all the same. */
    readonly signal?: AbortSignal;
}
export interface RequestOptions {
    /** Milliseconds until it rejects, trying to reach the server until then. Default 30,000. */
    readonly timeout?: number;
    /** Gives up. It may have been done all the same. */
    readonly signal?: AbortSignal;
}
/** How a mailbox or a process ended. */
export interface Down {
    /**
     * `normal` and `crashed` of processes; `closed` by its owner, `expired` because nobody read it, `disconnected` when
     * nobody read it for as long as the monitor allowed, though it lives on, `exit` by somebody who may; `node-lost` when the last server that had the process died, or, of one that runs on one node at a time, when another took it over; `gone` if nobody knows.
     */
    readonly reason: 'normal' | 'closed' | 'expired' | 'disconnected' | 'exit' | 'crashed' | 'node-lost' | 'gone' | (string & {});
    /** With `exit`: what was said as the reason. With `crashed`: how. */
    readonly detail?: unknown;
}
/** What a monitor of a mailbox is to tell beside its end. A process has neither. */
export interface MonitorOptions extends RequestOptions {
    /** Called with the state, whether the mailbox has a reader, as it is and whenever that changed. */
    readonly onState?: (state: 'connected' | 'asleep') => void;
    /**
     * Seconds, a whole number up to a day: when the mailbox has had no reader for longer, `down` tells `disconnected`,
     * and the monitor is over, though the mailbox lives on. Default: as long as it lives.
     */
    readonly grace?: number;
}
/** A monitor: tells when a mailbox or a process ends. */
export interface Monitor {
    /** Resolves when the other has ended, and rejects when this client's own mailbox has, so that nobody can tell. */
    readonly down: Promise<Down>;
    /** Takes the monitor back: `down` stays pending. */
    stop(options?: RequestOptions): Promise<void>;
}
/** A link: each end is told when the other ends. */
export interface Link {
    /** Resolves when the other has ended, and rejects when this client's own mailbox has. */
    readonly exited: Promise<Down>;
    /** Takes the link back, at both ends: `exited` stays pending. */
    unlink(options?: RequestOptions): Promise<void>;
}
export interface ReceiveOptions {
    /** Milliseconds until `receive` rejects with `timeout`; 0 takes what is there already. Default: never. */
    readonly timeout?: number;
    /** Gives up receiving. */
    readonly signal?: AbortSignal;
}
/** Takes one message. Its promise, if it returns one, is waited for before the next message is handed over. */
export type Handler<T = unknown> = (body: T, envelope: Envelope<T>) => unknown;
/**
 * The messages that came for this client, in order, each taken once. Read them one way at a time: by `receive`,
 * by a handler, or by `for await`.
 */
export interface Mailbox extends AsyncIterable<unknown> {
    /**
     * The next message's body. What had arrived before the mailbox closed is still handed out; after that it
     * rejects with the reason of the end as its code.
     *
     * @throws GenBrowserError `timeout`, `busy` (it is being read already), or a {@link ClosedReason}'s code.
     */
    receive<T = unknown>(options?: ReceiveOptions): Promise<T>;
    /** Like `receive`, with what travelled around the body. */
    receiveEnvelope<T = unknown>(options?: ReceiveOptions): Promise<Envelope<T>>;
    /**
     * Gives every message to `handler`, one at a time and in order, those that wait already first. What it throws
     * goes to `onError`, and the next message is handed over.
     *
     * @throws GenBrowserError `busy` (there is a handler, or it is being read), or that of a closed mailbox.
     */
    handle<T = unknown>(handler: Handler<T>): void;
    /** The same as `handle`. */
    setHandler<T = unknown>(handler: Handler<T>): void;
    /** Resolves when no more messages can arrive, with the reason. It never rejects. */
    readonly closed: Promise<Closed>;
    /** Ends when the program closes the client, and throws when the mailbox ends otherwise. */
    [Symbol.asyncIterator](): AsyncGenerator<unknown, void, undefined>;
}
/** A mailbox that is open, and the means to send. */
export interface Client<Config = unknown> {
    /**
     * Hand this to others: it is how they reach this client. It can do no more than the client's key, and ends with it.
     *
     * @throws GenBrowserError `missing-right` if the key was narrowed to none of an address's rights.
     */
    readonly address: Address;
    /** Keep this to yourself: with it, this mailbox can be resumed. */
    readonly key: MailboxKey;
    /** The position of the last message that the program took. With `key` it resumes from there. */
    readonly cursor: string;
    /** What the server's operator configured for clients: any JSON. */
    readonly config: Config;
    /** Whether this is the mailbox that was asked for, rather than a new one. */
    readonly resumed: boolean;
    readonly mailbox: Mailbox;
    readonly status: Status;
    /** Calls `listener` at every change of `status`, and returns what ends that. */
    onStatus(listener: (status: Status) => void): () => void;
    /**
     * Sends any JSON value. It resolves when the server has accepted the message. What is sent to one address arrives in the order of
     * the sends, though nobody awaits them.
     *
     * @throws GenBrowserError, or the reason of `options.signal`, always as a rejection. `full` (try after `retryAfter`), `gone`, `closed` and
     * `expired` (the receiver is), `too-large`, `unserializable`, `network`, `timeout` and so on.
     */
    send(to: Address, message: unknown, options?: SendOptions): Promise<void>;
    /**
     * Sends a message that wants a reply, and resolves with that. The reply comes to this client's mailbox, so that it
     * survives a cut connection, and past what waits there, so that a handler may wait for it.
     *
     * @throws GenBrowserError, or the reason of `options.signal`, always as a rejection. `call-timeout`; `call-failed` (the callee threw); `closed`,
     * `expired` and `gone` (the callee is, or became it meanwhile; `call-timeout` with that as its cause after an attempt without an answer); `missing-right` (of the address, or this client has none to reply to); `refused` and what else a callee fails with; what
     * `send` rejects with; `unsupported` in a page without WebCrypto (neither https nor localhost).
     */
    call<T = unknown>(to: Address, message: unknown, options?: CallOptions): Promise<T>;
    /**
     * Answers an envelope of kind `call`; no value is `null`.
     *
     * @throws GenBrowserError, or the reason of `options.signal`, as a rejection: `replied` (it has an answer), `capability-expired` (the caller's time is
     * over), and what `send` rejects with.
     */
    reply(call: Envelope, value?: unknown, options?: RequestOptions): Promise<void>;
    /** Answers a call with a failure: `call-failed` and the error's message, or a GenBrowserError's code and detail. */
    fail(call: Envelope, error: unknown, options?: RequestOptions): Promise<void>;
    /**
     * Answers every call with what `handler` returns or resolves with. What it throws becomes the failure `call-failed`
     * with the error's message; a GenBrowserError `refused` stays one. Calls are handed over in their order, the next
     * one while an earlier one is still waited for. Other messages go to the mailbox, and so do calls if nobody serves.
     *
     * @returns what ends that.
     * @throws GenBrowserError `busy` (calls are served already).
     */
    serve<T = unknown>(handler: Handler<T>): () => void;
    /**
     * Asks to be told when a mailbox or a process ends, which is at once if it did. Resolves when the server accepted
     * that. The other one is not told. It lasts as long as this client's mailbox.
     */
    monitor(to: Address, options?: MonitorOptions): Promise<Monitor>;
    /**
     * Links this client's mailbox with a mailbox or a process: when either ends, the other one is told. Who did not make
     * the link gets an envelope of kind `exited`, whose body is a {@link Down}.
     */
    link(to: Address, options?: RequestOptions): Promise<Link>;
    /**
     * Ends a mailbox or a process, for any reason that has JSON. It needs the exit right: an owner hands it out by
     * `attenuate(client.key, { rights: ['exit'] })`.
     */
    exit(to: Address, reason?: unknown, options?: RequestOptions): Promise<void>;
    /** The address of the process that the server's operator exported under that name, or that was registered under it; `undefined` if there is none. */
    whereis(name: string, options?: RequestOptions): Promise<Address | undefined>;
    /**
     * Closes the mailbox: its address is dead from then on. With `keep` it only stops reading, so that the mailbox
     * can be resumed by its key (or from the storage); messages that were not taken come again then. Resolves when
     * the server was told, or can't be reached; then the mailbox expires by itself. The first call decides: what was kept is
     * not closed by a second one, but by a client that resumes it.
     */
    close(options?: {
        readonly keep?: boolean;
    }): Promise<void>;
}
export {};
