import type { Status } from 'gen-browser';
import { equal, ok, rejects, until } from './assert.js';
import { type Register, reaches, wakingEvents } from './context.js';
import { random, randomValue } from './json.js';

export function networkCases(test: Register): void {
  test('a hundred cuts: each message comes once, and in order', async t => {
    const proxy = await t.proxy('tcp', t.server, { mode: 'chop', most: 6_000 });
    const sender = await t.start();
    const client = await t.start({ timeout: 60_000 }, proxy.url);
    const got: unknown[] = [];
    client.mailbox.handle(message => got.push(message));

    let sent = 0;
    while (Number((await proxy.count()).cuts) < 100) {
      // Not more than the mailbox holds, whatever the reader makes of it.
      await until(() => sent - got.length < 500);
      for (let burst = 0; burst < 20; burst++) await sender.send(client.address, padded(sent++));
    }
    await proxy.set({ mode: 'pass' });
    await sender.send(client.address, 'end');
    await until(() => got.at(-1) == 'end');
    got.pop();
    equal(got.length, sent);
    for (const [n, message] of got.entries()) equal(message, padded(n));
  });

  test('a stream that went mute is given up after 2.5 heartbeats', async t => {
    const server = await t.serve('--heartbeat', '200ms');
    const proxy = await t.proxy('tcp', server);
    const client = await t.start({}, proxy.url);
    const sender = await t.start({}, server);
    // Heartbeats keep a stream that has nothing to say: the proxy lets one pass, then falls silent.
    await proxy.set({ mode: 'mute' });
    await sender.send(client.address, 'in the dark');
    await reaches(client, 'reconnecting');
    const { status } = client;
    equal(status.state == 'reconnecting' && status.error?.code, 'timeout');
    await proxy.set({ mode: 'pass' });
    equal(await client.mailbox.receive(), 'in the dark');
  });

  test('heartbeats keep a stream that has nothing to say', async t => {
    const server = await t.serve('--heartbeat', '300ms');
    const states: string[] = [];
    const client = await t.start({ onStatus: ({ state }) => states.push(state) }, server);
    const other = await t.start({ onStatus: ({ state }) => states.push(state) }, server);
    const began = Date.now();
    await until(() => Date.now() - began > 10 * 300);
    await other.send(client.address, 1);
    equal(await client.mailbox.receive(), 1);
    equal(states, ['open', 'open']);
  });

  test('a refused reconnection is tried again', async t => {
    const proxy = await t.proxy('tcp');
    const client = await t.start({}, proxy.url);
    const sender = await t.start();
    await proxy.set({ mode: 'refuse' });
    await reaches(client, 'reconnecting');
    await sender.send(client.address, 'meanwhile');
    await until(async () => Number((await proxy.count()).connections) >= 3);
    await proxy.set({ mode: 'pass' });
    equal(await client.mailbox.receive(), 'meanwhile');
    equal(client.status, { state: 'open', transport: 'sse' });
  });

  test('a device that comes online ends the pause', async t => {
    const { dispatch } = wakingEvents(t);
    const proxy = await t.proxy('tcp');
    const client = await t.start({}, proxy.url);
    // Chance would make the pauses short.
    const { random } = Math;
    Math.random = () => 0.999;
    t.after(() => {
      Math.random = random;
    });
    await proxy.set({ mode: 'refuse' });
    await until(async () => Number((await proxy.count()).connections) >= 3);
    await proxy.set({ mode: 'pass' });
    // The next pause is 4 seconds long.
    const began = Date.now();
    await until(() => {
      dispatch('online');
      return client.status.state == 'open';
    });
    ok(Date.now() - began < 2_000, `${Date.now() - began} ms are less than the pause`);
  });

  test('a stream that was silent while the device slept is not trusted', async t => {
    const { dispatch } = wakingEvents(t);
    const states: string[] = [];
    const client = await t.start({ onStatus: ({ state }) => states.push(state) });
    dispatch('visibilitychange');
    equal(states, ['open']);
    const { now } = Date;
    Date.now = () => now() + 2_000;
    t.after(() => {
      Date.now = now;
    });
    dispatch('visibilitychange');
    await until(() => states.length > 2);
    equal(states, ['open', 'reconnecting', 'open']);
    await client.send(client.address, 1);
    equal(await client.mailbox.receive(), 1);
  });

  test('a network that holds streams back is read by long-poll', async t => {
    const proxy = await t.proxy('http', t.server, { hold: true });
    const client = await t.start({}, proxy.url);
    equal(client.status, { state: 'open', transport: 'long-poll' });
    equal((await proxy.count()).streams, 2);
    const sender = await t.start();
    for (let n = 0; n < 50; n++) await sender.send(client.address, n);
    for (let n = 0; n < 50; n++) equal(await client.mailbox.receive(), n);
    const receiving = client.mailbox.receive();
    await sender.send(client.address, null);
    equal(await receiving, null);
  });

  test('a page that polled and is shown again polls at once', async t => {
    const { dispatch } = wakingEvents(t);
    const proxy = await t.proxy('http', t.server, { hold: true });
    const client = await t.start({}, proxy.url);
    const { streams } = await proxy.count();
    dispatch('pagehide');
    await reaches(client, 'reconnecting');
    const sender = await t.start();
    await sender.send(client.address, 'while it was left');
    dispatch('pageshow');
    equal(await client.mailbox.receive(), 'while it was left');
    equal(client.status, { state: 'open', transport: 'long-poll' });
    equal((await proxy.count()).streams, streams);
  });

  test('a client follows its network to long-poll and back', async t => {
    const proxy = await t.proxy('http');
    const client = await t.start({}, proxy.url);
    const sender = await t.start();
    equal(client.status, { state: 'open', transport: 'sse' });
    await proxy.set({ hold: true, cut: true });
    await sender.send(client.address, 'held back');
    equal(await client.mailbox.receive(), 'held back');
    equal(client.status, { state: 'open', transport: 'long-poll' });
    await proxy.set({ drop: true, cut: true });
    await reaches(client, 'reconnecting');
    await proxy.set({});
    await reaches(client, 'open');
    equal(client.status, { state: 'open', transport: 'sse' });
    await sender.send(client.address, 'free');
    equal(await client.mailbox.receive(), 'free');
  });

  test('a mailbox is opened by long-poll', async t => {
    const statuses: Status[] = [];
    const client = await t.start({
      transport: 'long-poll',
      onStatus: status => statuses.push(status),
    });
    for (let n = 0; n < 3; n++) await client.send(client.address, n);
    for (let n = 0; n < 3; n++) equal(await client.mailbox.receive(), n);
    await client.close();
    equal(statuses, [
      { state: 'open', transport: 'long-poll' },
      { state: 'closed', reason: 'closed' },
    ]);
  });

  test('a mailbox is resumed by long-poll', async t => {
    const first = await t.start();
    for (let n = 0; n < 3; n++) await first.send(first.address, n);
    equal(await first.mailbox.receive(), 0);
    const { key, cursor, address } = first;
    const second = await t.start({ key, cursor, transport: 'long-poll' });
    equal([second.resumed, second.address], [true, address]);
    equal(await second.mailbox.receive(), 1);
    equal(await second.mailbox.receive(), 2);
    await second.send(second.address, 3);
    equal(await second.mailbox.receive(), 3);
    // Nothing waits for the third: the first answer comes at once all the same.
    const third = await t.start({ key, cursor: second.cursor, transport: 'long-poll' });
    await rejects(third.mailbox.receive({ timeout: 0 }), 'timeout');
  });

  test('ten thousand random values come as they were sent', async t => {
    const next = random(20_261_121);
    const client = await t.start();
    const count = 10_000;
    const values = Array.from({ length: count }, () => randomValue(next));
    const got = new Map<number, unknown>();
    client.mailbox.handle<[number, unknown]>(([n, value]) => got.set(n, value));
    let sent = 0;
    const sender = async () => {
      while (sent < count) {
        const n = sent++;
        await client.send(client.address, [n, values[n]]);
      }
    };
    await Promise.all(Array.from({ length: 16 }, sender));
    await until(() => got.size == count);
    for (const [n, value] of values.entries()) equal(got.get(n), value);
  });

  test('the longest values come as they were sent', async t => {
    const client = await t.start();
    const fill = (piece: string) => piece.repeat(Math.floor((64 * 1024 - 2) / bytes(piece)));
    const texts = ['x', '\u2028', '😀', '"', '\ud800', '\r\n', 'data: '].map(fill);
    for (const text of texts) await client.send(client.address, text);
    for (const text of texts) equal((await client.mailbox.receive()) === text, true);
  });
}

function padded(n: number): unknown {
  return { n, text: 'é'.repeat(n % 150), lines: '\n\ndata: \r' };
}

/** How many bytes of JSON a piece of text takes. */
function bytes(piece: string): number {
  return new TextEncoder().encode(JSON.stringify(piece)).length - 2;
}
