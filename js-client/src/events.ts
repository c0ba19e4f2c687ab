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
    if (rest.includes('\r')) rest = rest.replace(/\r\n|\r(?!$)/g, '\n');
    let next = 0;
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n', next)) {
      const line = next;
      next = end + 1;
      // [spec] "If the line is empty (a blank line): Dispatch the event". One without data is not told.
      if (line == end) {
        if (data !== undefined) onEvent({ event, data, id });
        event = '';
        data = id = undefined;
        continue;
      }
      // [spec] "If value starts with a U+0020 SPACE character, remove it from value" - one, and no more.
      const found = rest.indexOf(':', line);
      const colon = found < 0 || found > end ? end : found;
      const field = rest.slice(line, colon);
      const value = rest.slice(colon + (rest[colon + 1] == ' ' ? 2 : 1), end);
      if (field == 'data') data = data === undefined ? value : `${data}\n${value}`;
      else if (field == 'event') event = value;
      // [spec] "If the field value does not contain U+0000 NULL"
      else if (field == 'id' && !value.includes('\0')) id = value;
    }
    rest = rest.slice(next);
  };
}
