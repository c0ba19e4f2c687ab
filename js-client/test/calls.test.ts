// Calls on a server that does what each test says: what comes late, twice, or after a cut.
import { type Client, GenBrowserError, start } from 'gen-browser';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createOrder } from '../src/order.js';

// From the vectors: an address of a mailbox.
const ADDRESS = 'gba_AfoBD4-tW9nLRp-hZXCGdyiVDgEBD1Xls4V6dwkoh4FS4kyqDXY';
const LIMITS = { body: 65_536, backlog: 8, backlogBytes: 1 << 20 };

interface Line {
  readonly to: Client['address'];
  readonly kind: string;
  readonly id: string;
  readonly ref: string;
  readonly reply: string;
  readonly body: unknown;
}

/** A server in memory: what it was sent, and a stream to say something on. */
function fakeServer(answer: (line: Line, count: number) => object | Promise<object>) {
  const lines: Line[] = [];
  const acks: string[] = [];
  let stream: ReadableStreamDefaultController<Uint8Array> | undefined;
  let sequence = 0;
  const say = (text: string) => stream?.enqueue(new TextEncoder().encode(text));
  const event = (name: string, data: object) =>
    say(`id: 5f3a9c1b.${sequence++}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`);

  const fetcher = async (url: string, { method, body, signal }: RequestInit = {}) => {
    if (url.endsWith('/ack')) acks.push(JSON.parse(String(body)).cursor);
    if (method == 'DELETE' || url.endsWith('/ack')) return new Response(null, { status: 204 });
    if (url.endsWith('/send?brief')) {
      const line = JSON.parse(String(body)) as Line;
      lines.push(line);
      const aborted = new Promise<never>((_, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason));
      });
      const answered = await Promise.race([answer(line, lines.length), aborted]);
      return new Response(`${JSON.stringify(answered)}\n`);
    }
    const opened = new ReadableStream<Uint8Array>({
      start(controller) {
        stream = controller;
      },
    });
    const init = { cursor: '5f3a9c1b.0', config: null, heartbeat: 1e9, limits: LIMITS };
    event('init', { ...init, address: ADDRESS, key: 'gbk_x' });
    return new Response(opened, { headers: { 'content-type': 'text/event-stream' } });
  };
  return {
    lines,
    acks,
    envelope: (envelope: object) => event('envelope', envelope),
    gap: (missing: number) => event('gap', { missing }),
    start: () => start('http://fake', { fetch: fetcher as typeof fetch }),
  };
}

const accept = () => ({ status: 202 });
const never = () => new Promise<object>(() => {});
const problem = (code: string, status: number) => ({ type: `urn:gen-browser:${code}`, status });
const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    value => `resolved with ${value}`,
    (error: GenBrowserError) => error,
  );

describe('calls', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    vi.spyOn(Math, 'random').mockReturnValue(1);
  });

  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  /** Waits for what no timer holds back: WebCrypto, above all. */
  async function until(condition: () => unknown) {
    while (!condition()) await new Promise(setImmediate);
  }

  it('time out, and leave no timer', async () => {
    const server = fakeServer(accept);
    const client = await server.start();
    const others = vi.getTimerCount();
    const failing = failureOf(client.call(client.address, 1));
    await until(() => server.lines.length);
    await vi.advanceTimersByTimeAsync(9_999);
    expect(vi.getTimerCount()).toBe(others + 1);
    await vi.advanceTimersByTimeAsync(1);
    expect(await failing).toMatchObject({ code: 'call-timeout', status: undefined });
    expect(vi.getTimerCount()).toBe(others);
    const { ref } = server.lines[0] as Line;
    server.envelope({ kind: 'reply', ref, body: 'too late' });
    server.envelope({ kind: 'call', ref: 'x', reply: ADDRESS, body: 'a call' });
    expect(await client.mailbox.receive()).toBe('a call');
    await client.close();
  });

  it('repeat a line that had no answer, under the same id, until the time is over', async () => {
    const server = fakeServer(async (_, count) => {
      if (count == 1) throw new TypeError('The network is gone');
      return count == 2 ? problem('unavailable', 503) : never();
    });
    const client = await server.start();
    const failing = failureOf(client.call(client.address, 1, { timeout: 10_000 }));
    await until(() => server.lines.length);
    // After 1 s and 2 s; the third attempt may take the rest.
    await vi.advanceTimersByTimeAsync(1_000);
    expect(server.lines.length).toBe(2);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(server.lines.length).toBe(3);
    await vi.advanceTimersByTimeAsync(7_000);
    expect(await failing).toMatchObject({ code: 'call-timeout', cause: { code: 'unavailable' } });
    expect(new Set(server.lines.map(({ id }) => id)).size).toBe(1);
    await client.close();
  });

  it('give up an attempt that hangs, and try again', async () => {
    const server = fakeServer((_, count) => (count == 1 ? never() : accept()));
    const client = await server.start();
    const calling = client.call(client.address, 1);
    await until(() => server.lines.length);
    await vi.advanceTimersByTimeAsync(6_000);
    expect(server.lines.length).toBe(2);
    server.envelope({ kind: 'reply', ref: server.lines[0]?.ref, body: 'at last' });
    expect(await calling).toBe('at last');
    await client.close();
  });

  it('resolve though the answer to their line was lost', async () => {
    const server = fakeServer(never);
    const client = await server.start();
    const others = vi.getTimerCount();
    const calling = client.call(client.address, 1);
    await until(() => server.lines.length);
    server.envelope({ kind: 'reply', ref: server.lines[0]?.ref, body: null });
    expect(await calling).toBe(null);
    // The line is given up, rather than sent again.
    await new Promise(setImmediate);
    expect(vi.getTimerCount()).toBe(others);
    await client.close();
  });

  it('reject at once with what refuses them, and with a failure', async () => {
    const server = fakeServer((_, count) =>
      count == 1 ? { ...problem('full', 429), retryAfter: 7 } : accept(),
    );
    const client = await server.start();
    const call = () => failureOf(client.call(client.address, 1));
    expect(await call()).toMatchObject({ code: 'full', status: 429, retryAfter: 7 });
    const fail = async (body: unknown) => {
      const failing = call();
      const count = server.lines.length;
      await until(() => server.lines.length > count);
      server.envelope({ kind: 'failure', ref: server.lines.at(-1)?.ref, body });
      return failing;
    };
    const closed = { ...problem('closed', 410), detail: 'it is gone' };
    expect(await fail(closed)).toMatchObject({ code: 'closed', status: 410, detail: 'it is gone' });
    expect(await fail('nonsense')).toMatchObject({ code: 'call-failed' });
    await client.close();
  });

  it('carry a reply address that only that reply gets through, and in time', async () => {
    vi.spyOn(Date, 'now').mockReturnValue(1_893_456_000_400);
    const server = fakeServer(accept);
    const client = await server.start();
    const failing = failureOf(client.call(client.address, 1, { timeout: 1_000 }));
    await until(() => server.lines.length);
    const { ref, reply, id, kind } = server.lines[0] as Line;
    const token = Buffer.from(reply.slice(4), 'base64url');
    const uint = [1_893_456_003].map(seconds => [24, 16, 8, 0].map(bit => (seconds >>> bit) & 255));
    const caveats = [1, 1, 1, 2, 4, ...(uint[0] ?? []), 9, 22, ...Buffer.from(ref)];
    expect([kind, id, ref.length]).toEqual(['call', ref, 22]);
    // Behind the address's own rights, before the tag.
    expect([...token.subarray(22, -16)]).toEqual(caveats);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await failing).toMatchObject({ code: 'call-timeout' });
    await client.close();
  });

  it('end with the mailbox, and with their signal', async () => {
    const server = fakeServer(accept);
    const client = await server.start();
    const stop = new AbortController();
    const aborted = failureOf(client.call(client.address, 1, { signal: stop.signal }));
    const failing = failureOf(client.call(client.address, 1));
    await until(() => server.lines.length == 2);
    const monitor = await client.monitor(client.address);
    stop.abort('enough');
    expect(await aborted).toBe('enough');
    await client.close();
    expect(await failing).toMatchObject({ code: 'closed' });
    expect(await failureOf(monitor.down)).toMatchObject({ code: 'closed' });
    expect(await failureOf(client.call(client.address, 1))).toMatchObject({ code: 'closed' });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('are answered past a message that waits, which stays untaken', async () => {
    const server = fakeServer(accept);
    const client = await server.start();
    const before = client.cursor;
    server.envelope({ body: 'waits' });
    const calling = client.call(client.address, 1);
    await until(() => server.lines.length);
    server.gap(2);
    server.envelope({ kind: 'reply', ref: server.lines[0]?.ref, body: 'reply' });
    expect(await calling).toBe('reply');
    // A client that resumed from behind the reply would have lost the message before it.
    expect([client.cursor, server.acks]).toEqual([before, []]);
    expect(await client.mailbox.receive()).toBe('waits');
    expect([client.cursor, server.acks]).toEqual(['5f3a9c1b.3', ['5f3a9c1b.3']]);
    // That something is missing is told with the next message that the program sees.
    server.envelope({ kind: 'message', body: 'next', via: ['x'] });
    expect(await client.mailbox.receiveEnvelope()).toMatchObject({ body: 'next', gap: 2 });
    await client.close();
  });

  it('count a reply that was repeated as done, and only that', async () => {
    const server = fakeServer(async ({ kind }, count) => {
      if (count == 1) throw new TypeError('The network is gone');
      return kind == 'reply' ? problem('replied', 409) : accept();
    });
    const client = await server.start();
    const call = { kind: 'call', ref: 'r', reply: client.address, body: 1 };
    const replying = client.reply(call);
    await until(() => server.lines.length);
    await vi.advanceTimersByTimeAsync(1_000);
    await replying;
    expect(server.lines.map(({ body, ref, kind }) => [body, ref, kind])).toEqual([
      [null, 'r', 'reply'],
      [null, 'r', 'reply'],
    ]);
    expect(await failureOf(client.reply(call, 2))).toMatchObject({ code: 'replied' });
    await client.close();
  });

  it('are failed with what the program says, or what its handler throws', async () => {
    const server = fakeServer(accept);
    const client = await server.start();
    const call = { kind: 'call', ref: 'r', reply: client.address, body: 1 };
    const last = () => server.lines.at(-1)?.body;
    await client.fail(call, new GenBrowserError('gone', 'not here'));
    expect(last()).toMatchObject({ type: 'urn:gen-browser:gone', status: 502, detail: 'not here' });
    await client.fail(call, 'a text');
    expect(last()).toMatchObject({ type: 'urn:gen-browser:call-failed', detail: 'a text' });

    const throwing: unknown[] = [
      new GenBrowserError('closed', 'another one is'),
      new GenBrowserError('refused', 'no such order'),
      new RangeError('a fault'),
    ];
    server.envelope(call);
    await vi.advanceTimersByTimeAsync(0);
    const stop = client.serve(() => {
      throw throwing.shift();
    });
    expect(() => client.serve(() => {})).toThrow('served already');
    const codes: unknown[] = [];
    for (let count = 3; throwing.length || count <= 5; count++) {
      await until(() => server.lines.length == count);
      codes.push(last());
      if (count < 5) server.envelope({ ...call, ref: String(count) });
    }
    expect(codes).toMatchObject([
      { type: 'urn:gen-browser:call-failed', status: 502, detail: 'another one is' },
      { type: 'urn:gen-browser:refused', status: 422, detail: 'no such order' },
      { type: 'urn:gen-browser:call-failed', status: 502, detail: 'a fault' },
    ]);
    stop();
    server.envelope({ ...call, body: 'for the mailbox' });
    expect(await client.mailbox.receive()).toBe('for the mailbox');
    await client.close();
  });

  it('that have no JSON for an answer fail', async () => {
    const server = fakeServer(accept);
    const client = await server.start();
    client.serve(() => 1n);
    server.envelope({ kind: 'call', ref: 'r', reply: client.address, body: 1 });
    await until(() => server.lines.length);
    expect(server.lines[0]).toMatchObject({ kind: 'failure', ref: 'r' });
    await client.close();
  });
});

describe('links', () => {
  it('of others are messages, and what comes of one’s own after unlink is dropped', async () => {
    const server = fakeServer(accept);
    const client = await server.start();
    const link = await client.link(client.address);
    await link.unlink();
    const [made, unmade] = server.lines as [Line, Line];
    expect([unmade.kind, unmade.ref, unmade.reply]).toEqual(['unlink', made.ref, made.reply]);
    const body = { reason: 'closed' };
    server.envelope({ kind: 'exited', ref: made.ref, body });
    server.envelope({ kind: 'exited', ref: 'of-another', body });
    const { kind, ref } = await client.mailbox.receiveEnvelope();
    expect([kind, ref]).toEqual(['exited', 'of-another']);
    await client.close();
  });

  it('and monitors that are refused reject', async () => {
    const server = fakeServer(() => problem('missing-right', 403));
    const client = await server.start();
    const refused = { code: 'missing-right', status: 403 };
    expect(await failureOf(client.link(client.address))).toMatchObject(refused);
    expect(await failureOf(client.monitor(client.address))).toMatchObject(refused);
    await client.close();
  });
});

describe('an exit', () => {
  it('that was repeated is done if the other one is gone', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0);
    const server = fakeServer(async (_, count) => {
      if (count == 1) throw new TypeError('The network is gone');
      return problem('closed', 410);
    });
    const client = await server.start();
    await client.exit(client.address);
    expect(server.lines.map(({ kind, body }) => [kind, body])).toEqual([
      ['exit', null],
      ['exit', null],
    ]);
    const [id, again] = server.lines.map(line => line.id);
    expect(id).toMatch(/^[\w-]+$/);
    expect(again).toBe(id); // or it could end what has the name by then
    expect(await failureOf(client.exit(client.address, 'why'))).toMatchObject({ code: 'closed' });
    await client.close();
    vi.restoreAllMocks();
  });
});

describe('the order of what is taken', () => {
  it('is that in which it came', () => {
    const taken: number[] = [];
    const order = createOrder(({ size }) => taken.push(size));
    const [first, second, third, fourth] = [1, 2, 3, 4].map(size => {
      const arrival = { envelope: { kind: 'message', body: size }, cursor: undefined, size };
      order.came(arrival);
      return arrival;
    }) as never[];
    order.taken(second as never);
    order.taken(fourth as never);
    expect(taken).toEqual([]);
    order.taken(first as never);
    expect(taken).toEqual([1, 2]);
    order.taken(third as never);
    expect(taken).toEqual([1, 2, 3, 4]);
  });
});
