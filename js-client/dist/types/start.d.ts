import type { Client, StartOptions } from './types.js';
/**
 * Opens a mailbox at a GenBrowser server, or resumes one, and keeps its messages coming.
 *
 * @param url the server; default: the page's own origin.
 * @throws GenBrowserError `timeout` (its `cause` tells what failed last), or why the server refuses.
 */
export declare function start<Config = unknown>(url?: string | URL, options?: StartOptions): Promise<Client<Config>>;
