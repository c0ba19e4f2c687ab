import type { MailboxStorage } from './types.js';
/** What a reload needs to go on: whose mailbox, and what of it was taken. */
export interface Saved {
    readonly key: string;
    readonly cursor: string | undefined;
}
/** Reads what an earlier page saved. What can't be read counts as nothing. */
export declare function load(storage: MailboxStorage, name: string): Saved | undefined;
