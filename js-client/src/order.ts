import type { Arrival } from './mailbox.js';

/**
 * Keeps a position from being taken before those that came ahead of it: an answer to a call is taken at once, while
 * messages before it wait for the program. A cursor behind it would lose them.
 *
 * @param taken is told of each arrival that was taken, in the order in which they came.
 */
export function createOrder(taken: (arrival: Arrival) => void): {
  came(arrival: Arrival): void;
  taken(arrival: Arrival): void;
} {
  const arrivals: Arrival[] = [];
  const early = new Set<Arrival>();
  return {
    came(arrival) {
      arrivals.push(arrival);
    },
    taken(arrival) {
      if (arrival != arrivals[0]) {
        early.add(arrival);
        return;
      }
      do {
        taken(arrivals.shift() as Arrival);
      } while (early.size && early.delete(arrivals[0] as Arrival));
    },
  };
}
