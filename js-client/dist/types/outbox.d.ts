import { type Wire } from './request.js';
import type { Address } from './types.js';
/** What waits to be sent to an address, while something is under way there. */
export type Outbox = Map<Address, Waiting[]>;
/** One line of what is sent. */
export interface Letter {
    readonly to: Address;
    readonly text: string;
}
interface Waiting {
    readonly text: string;
    /** Aborted when its time is over, and when nobody waits for it any more. */
    readonly signal: AbortSignal;
    readonly settle: (error?: unknown) => void;
}
/**
 * Sends a line when what was sent to that address before has its answer, so that it arrives after that. Those that wait then
 * go in one request.
 */
export declare function deliver(wire: Wire, { to, text }: Letter, timeout: number, signal: AbortSignal | undefined, keepalive?: boolean): Promise<void>;
export {};
