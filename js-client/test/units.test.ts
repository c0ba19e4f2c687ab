// What can be tested without a server: the parser, against the one that it stands in for, and the back-off.
import { readFile } from 'node:fs/promises';
import { createParser as createReference } from 'eventsource-parser';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { delay } from '../src/backoff.js';
import { createParser, type StreamEvent } from '../src/events.js';
import { random } from './suite/json.js';

describe('the codes of errors', () => {
  it('are those of the server, and some of the client', async () => {
    const source = (path: string) => readFile(new URL(path, import.meta.url), 'utf8');
    const server = await source('../../web/problem/problem.go');
    const client = await source('../src/errors.ts');
    const codes = [...server.matchAll(/= kind\(\d+, "([^"]+)"/g)].map(match => match[1]);
    expect(codes.length).toBeGreaterThan(40);
    expect(codes.filter(code => !client.includes(`| '${code}'`))).toEqual([]);
  });
});

describe('the parser of event streams', () => {
  function parse(pieces: readonly string[]): StreamEvent[] {
    const events: StreamEvent[] = [];
    const feed = createParser(event => events.push(event));
    for (const piece of pieces) feed(piece);
    return events;
  }

  function reference(pieces: readonly string[]): StreamEvent[] {
    const events: StreamEvent[] = [];
    const { feed } = createReference({
      onEvent: ({ event = '', data, id }) => events.push({ event, data, id }),
    });
    for (const piece of pieces) feed(piece);
    return events;
  }

  const event = (data: string, rest: Partial<StreamEvent> = {}): StreamEvent => ({
    event: '',
    data,
    id: undefined,
    ...rest,
  });

  it.each([
    ['a plain event', 'data: 1\n\n', [event('1')]],
    ['every field', 'id: 7\nevent: bye\ndata: {}\n\n', [event('{}', { event: 'bye', id: '7' })]],
    ['no space', 'data:1\nid:7\n\n', [event('1', { id: '7' })]],
    ['two spaces, one of which is data', 'data:  1 \n\n', [event(' 1 ')]],
    ['many lines of data', 'data: a\ndata\ndata: b\n\n', [event('a\n\nb')]],
    ['empty data', 'data\n\n', [event('')]],
    ['no data', 'id: 7\nevent: x\n\ndata: 1\n\n', [event('1')]],
    ['comments', ':\n\n: data: 0\ndata: 1\n:\n\n', [event('1')]],
    ['unknown fields', 'retry: 5\nfoo: bar\ndatas: 2\ndata: 1\n\n', [event('1')]],
    ['an id with NUL', 'id: a\0\ndata: 1\n\n', [event('1')]],
    ['an event that does not end', 'data: 1\n\ndata: 2\n', [event('1')]],
    [
      'LF, CRLF and CR',
      'data: 1\r\n\r\ndata: 2\r\rdata: 3\n\n',
      [event('1'), event('2'), event('3')],
    ],
  ])('takes %s', (_, text, want) => {
    expect(parse([text])).toEqual(want);
    // The same, however it is cut.
    for (let at = 0; at <= text.length; at++)
      expect(parse([text.slice(0, at), text.slice(at)])).toEqual(want);
    expect(parse([...text])).toEqual(want);
  });

  it('agrees with eventsource-parser, whatever comes and however it is cut', () => {
    const next = random(7);
    const upTo = (most: number) => Math.floor(next() * most);
    const parts = [
      ...['data', 'id', 'event', 'retry', ':', ': ', ' ', '\n', '\n\n', '\n', '\r\n', '\r\n\r\n'],
      ...['data: x\n', 'id: 1\n', 'event: e\n', 'x', '{"a":[1]}', '\u2028', '\ufeffy', 'é', '\0'],
    ];
    for (let run = 0; run < 20_000; run++) {
      const text = `data: first\n${Array.from({ length: upTo(20) }, () => parts[upTo(parts.length)]).join('')}\n\n`;
      const pieces: string[] = [];
      for (let at = 0; at < text.length; ) {
        const piece = text.slice(at, at + 1 + upTo(8));
        pieces.push(piece);
        at += piece.length;
      }
      expect(parse(pieces), JSON.stringify(pieces)).toEqual(reference(pieces));
    }
  });

  it('takes a long line in many pieces in time that grows with its length', () => {
    const line = 'x'.repeat(2 ** 22);
    const pieces = [
      'data: ',
      ...Array.from({ length: 2 ** 14 }, (_, n) => line.slice(n * 256, (n + 1) * 256)),
      '\n\n',
    ];
    const began = performance.now();
    expect(parse(pieces)[0]?.data.length).toBe(2 ** 22);
    expect(performance.now() - began).toBeLessThan(2_000);
  });
});

describe('the back-off', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('doubles up to 20 seconds', () => {
    vi.spyOn(Math, 'random').mockReturnValue(1);
    const delays = [1, 2, 3, 4, 5, 6, 7, 50, 2_000].map(delay);
    expect(delays).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000, 20_000, 20_000]);
  });

  it('is full jitter: anything between nothing and that', () => {
    vi.spyOn(Math, 'random').mockReturnValue(0);
    expect(delay(9)).toBe(0);
    vi.spyOn(Math, 'random').mockReturnValue(0.25);
    expect(delay(9)).toBe(5_000);
  });
});
