import type { GenBrowserError } from './errors.js';

/** Full jitter's cap for the first failure, in milliseconds; it doubles with each. */
const BASE = 500;
const CAP = 20_000;

/**
 * How many milliseconds to wait after so many failures in a row: a random time below a growing cap, so that the
 * clients of a server that came back don't all come at the same instant.
 */
export function delay(failures: number): number {
  return failures ? Math.random() * Math.min(CAP, BASE * 2 ** failures) : 0;
}

/** How many milliseconds to wait after that answer, or none: as long as it asks for, and then as {@link delay} says. */
export function delayAfter({ retryAfter = 0 }: GenBrowserError, failures: number): number {
  return retryAfter * 1000 + delay(failures);
}
