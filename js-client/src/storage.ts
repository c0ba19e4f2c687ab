import { isKey } from './address.js';
import type { MailboxStorage } from './types.js';

/** What a reload needs to go on: whose mailbox, and what of it was taken. */
export interface Saved {
  readonly key: string;
  readonly cursor: string | undefined;
}

/** Reads what an earlier page saved. What can't be read counts as nothing. */
export function load(storage: MailboxStorage, name: string): Saved | undefined {
  try {
    const { key, cursor } = JSON.parse(storage.getItem(name) ?? '');
    if (isKey(key)) return { key, cursor };
  } catch {
    // Nothing was saved, or something else under this name.
  }
  return undefined;
}
