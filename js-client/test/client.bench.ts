// What the client itself costs: bytes of a stream in, messages out, and the other way, with no network.
import { createParser as createTheirs } from 'eventsource-parser';
import { createParser } from '../src/events.js';
import { compare, processorTime } from './harness/compare.js';
import { MESSAGE } from './harness/message.js';
import { Counter, ours, parserLoop, type Read } from './harness/readers.js';

const COUNT = 5_000;
const ROUNDS = 40;

const events = Array.from(
  { length: COUNT },
  (_, n) => `id: 5f3a9c1b.${n + 1}\ndata: ${JSON.stringify(MESSAGE)}\n\n`,
).join('');

function apart(create: (onEvent: () => void) => (piece: string) => void) {
  return () =>
    processorTime(COUNT, async () => {
      let seen = 0;
      const feed = create(() => seen++);
      for (let at = 0; at < events.length; at += 16_384) feed(events.slice(at, at + 16_384));
      if (seen != COUNT) throw new Error(`${seen} events`);
    });
}

compare('taken apart, in pieces of 16 KiB', {
  rounds: ROUNDS,
  unit: 'µs',
  variants: {
    'eventsource-parser': apart(onEvent => createTheirs({ onEvent }).feed),
    ours: apart(createParser),
  },
});

const init = {
  address: 'gba_AfoBD4-tW9nLRp-hZXCGdyiVDgEBD1Xls4V6dwkoh4FS4kyqDXY',
  key: 'gbk_x',
  cursor: '5f3a9c1b.0',
  config: null,
  heartbeat: 15_000,
  limits: { body: 65_536, backlog: 1_000_000, backlogBytes: 1e9 },
};
const bytes = new TextEncoder().encode(
  `id: 5f3a9c1b.0\nevent: init\ndata: ${JSON.stringify(init)}\n\n${events}`,
);

/** A server in memory, that streams the events in pieces of this size. */
function fake(size: number): typeof fetch {
  return async (_, { method } = {}) => {
    if (method) return new Response(null, { status: 202 });
    let at = 0;
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at < bytes.length) controller.enqueue(bytes.subarray(at, at + size));
        at += size;
        return at < bytes.length + size ? undefined : new Promise(() => {});
      },
    });
    return new Response(stream, { headers: { 'content-type': 'text/event-stream' } });
  };
}

/** A whole client, from the bytes of a stream to a handler. */
function received(read: Read, size: number) {
  return async () => {
    const counter = new Counter();
    const took = await processorTime(COUNT, async () => {
      await counter.open(read, 'http://bench', fake(size));
      await counter.reaches(COUNT);
    });
    await counter.reader?.close();
    return took;
  };
}

for (const [size, title] of [
  [16_384, 'pieces of 16 KiB'],
  [220, 'a piece for each message'],
] as const) {
  compare(`from the bytes of a stream to a handler, ${title}`, {
    rounds: ROUNDS,
    unit: 'µs',
    variants: {
      'fetch and eventsource-parser': received(parserLoop, size),
      ours: received(ours, size),
    },
  });
}
