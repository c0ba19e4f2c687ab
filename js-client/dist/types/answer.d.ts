import { type Arrival } from './mailbox.js';
import type { Wire } from './request.js';
import type { Client } from './types.js';
/** Answers the calls of others. */
export interface Answers extends Pick<Client, 'reply' | 'fail' | 'serve'> {
    /** Whether the message is a call, and somebody serves them. */
    take(arrival: Arrival): boolean;
}
/**
 * @param assertOpen throws once the client is closed.
 * @param waiting takes the calls that wait in the mailbox.
 * @param taken is told of each call that was answered.
 */
export declare function createAnswers(wire: Wire, assertOpen: () => void, waiting: () => readonly Arrival[], taken: (arrival: Arrival) => void): Answers;
