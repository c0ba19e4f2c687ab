import type { Address, MailboxKey } from './types.js';
/** What one may do with a capability. The first five make an address, the rest are its owner's. */
export type Right = 'send' | 'call' | 'monitor' | 'link' | 'exit' | 'read' | 'ack' | 'close' | 'mint' | 'revoke';
/** What is taken away from a capability. Nobody who is given the narrowed one can undo it. */
export interface Restriction {
    /** Only these, of the rights that it has. */
    readonly rights?: readonly Right[];
    /** Until then: a Date, or whole seconds since 1970. */
    readonly expires?: Date | number;
    /** Only messages with at most so many bytes of JSON. */
    readonly maxBytes?: number;
    /** Only objects whose member `type` is one of these. */
    readonly types?: readonly string[];
    /** The receiver sees it as `via`: 1–64 bytes of UTF-8, no control characters. */
    readonly label?: string;
    /**
     * Only one message of kind `reply` or `failure`, with this as its `ref`: 1–128 printable ASCII characters, no spaces.
     * `call` does this by itself.
     */
    readonly reply?: string;
}
/** Whether this is the text of an address. Only the server can tell whether it is genuine. */
export declare function isAddress(value: unknown): value is Address;
/** Whether this may be the key of a mailbox. */
export declare function isKey(value: unknown): boolean;
/** @throws GenBrowserError `malformed-address` unless this is the text of an address. */
export declare function assertAddress(value: unknown): asserts value is Address;
/**
 * Narrows a capability, with no server's help: hand out an address that may only send, expires, or carries a label
 * that tells who used it.
 *
 * @throws GenBrowserError `malformed-address`, `malformed-restriction`, or `unsupported` where there is no WebCrypto.
 */
export declare function attenuate(capability: Address, restriction: Restriction): Promise<Address>;
export declare function attenuate(capability: MailboxKey, restriction: Restriction): Promise<Address | MailboxKey>;
/** base64url, without padding. */
export declare function encode(bytes: readonly number[]): string;
