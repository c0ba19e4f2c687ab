/**
 * How many milliseconds to wait after so many failures in a row: a random time below a growing cap, so that the
 * clients of a server that came back don't all come at the same instant.
 */
export declare function delay(failures: number): number;
