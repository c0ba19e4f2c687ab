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
export function createParser(onEvent: (event: StreamEvent) => void): (piece: string) => void {
  let rest = '';
  let event = '';
  let data: string | undefined;
  let id: string | undefined;

  return piece => {
    rest += piece;
    if (!/[\r\n]/.test(piece)) return;
    // [spec] Lines end in CRLF, LF or CR. A CR at the very end may be the first half of a CRLF.
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() as string;
    for (const line of lines) {
      // [spec] "If the line is empty (a blank line): Dispatch the event". One without data is not told.
      if (!line) {
        if (data !== undefined) onEvent({ event, data, id });
        event = '';
        data = id = undefined;
      }
      // [spec] "If value starts with a U+0020 SPACE character, remove it from value" - one, and no more.
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] == ' ' ? 2 : 1));
      if (field == 'data') data = data === undefined ? value : `${data}\n${value}`;
      if (field == 'event') event = value;
      // [spec] "If the field value does not contain U+0000 NULL"
      if (field == 'id' && !value.includes('\0')) id = value;
    }
  };
}
