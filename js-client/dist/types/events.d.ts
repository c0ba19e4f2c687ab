/** An event of a stream, whole. */
export interface StreamEvent {
    /** The value of its `event` field; empty if it has none. */
    readonly event: string;
    readonly data: string;
    /** The value of its own `id` field; absent if it has none. */
    readonly id: string | undefined;
}
/**
 * Takes an event stream apart, as the HTML standard says under "Interpreting an event stream" ([spec] below), except
 * that an event without an id is told without one, rather than with the last. Takes the stream's pieces, cut anywhere.
 */
export declare function createParser(onEvent: (event: StreamEvent) => void): (piece: string) => void;
