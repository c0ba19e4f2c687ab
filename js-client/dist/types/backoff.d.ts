import type { GenBrowserError } from './errors.js';
/**
 * How many milliseconds to wait after so many failures in a row: a random time below a growing cap, so that the
 * clients of a server that came back don't all come at the same instant.
 */
export declare function delay(failures: number): number;
/** How many milliseconds to wait after that answer, or none: as long as it asks for, and then as {@link delay} says. */
export declare function delayAfter({ retryAfter }: GenBrowserError, failures: number): number;
