// What the client adds to each message: taking a stream apart, parsing its JSON, handing it to the program.
import { start } from 'gen-browser';
import { bench, describe, inject } from 'vitest';
import { createParser } from '../src/events.js';

const COUNT = 1_000;

const body = JSON.stringify({
  from: 'gba_'.padEnd(55, 'x'),
  type: 'chat',
  text: 'Hello, world! '.repeat(5),
});
const events = Array.from(
  { length: COUNT },
  (_, n) => `id: 5f3a9c1b.${n + 1}\ndata: ${body}\n\n`,
).join('');

describe(`${COUNT} messages of ${body.length} bytes`, () => {
  bench('taken apart, in pieces of 16 KiB', () => {
    let seen = 0;
    const feed = createParser(() => seen++);
    for (let at = 0; at < events.length; at += 16_384) feed(events.slice(at, at + 16_384));
    if (seen != COUNT) throw new Error(`${seen} events`);
  });

  bench('from the bytes of a stream to a handler', () => receiveAll(16_384));

  bench('the same, in pieces of 100 bytes', () => receiveAll(100));
});

/** A whole client, on a fetch that has the stream in memory. */
async function receiveAll(piece: number): Promise<void> {
  const init = {
    address: 'gba_x',
    key: 'gbk_x',
    cursor: '5f3a9c1b.0',
    config: null,
    heartbeat: 15_000,
  };
  const limits = { body: 65_536, backlog: 1_000_000, backlogBytes: 1e9 };
  const text = `id: 5f3a9c1b.0\nevent: init\ndata: ${JSON.stringify({ ...init, limits })}\n\n${events}`;
  const bytes = new TextEncoder().encode(text);
  const fetcher = async (_: unknown, { method }: RequestInit = {}) => {
    if (method == 'DELETE') return new Response(null, { status: 204 });
    let at = 0;
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at < bytes.length) controller.enqueue(bytes.subarray(at, at + piece));
        at += piece;
        return at < bytes.length + piece ? undefined : new Promise(() => {});
      },
    });
    return new Response(stream, { headers: { 'content-type': 'text/event-stream' } });
  };
  const client = await start('http://bench', { fetch: fetcher as typeof fetch });
  let left = COUNT;
  await new Promise<void>(resolve => client.mailbox.handle(() => --left || resolve()));
  await client.close();
}

describe('with the real server', () => {
  const client = start(inject('server'));

  bench('a message there and back', async () => {
    const { address, mailbox, send } = await client;
    await send(address, body);
    await mailbox.receive();
  });
});
