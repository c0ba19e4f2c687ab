import type { Arrival } from './mailbox.js';
/**
 * Keeps a position from being taken before those that came ahead of it: an answer to a call is taken at once, while
 * messages before it wait for the program. A cursor behind it would lose them.
 *
 * @param taken is told of each arrival that was taken, in the order in which they came.
 */
export declare function createOrder(taken: (arrival: Arrival) => void): {
    came(arrival: Arrival): void;
    taken(arrival: Arrival): void;
};
