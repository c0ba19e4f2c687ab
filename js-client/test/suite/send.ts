import { type Address, attenuate } from 'gen-browser';
import { equal, ok, rejects, until } from './assert.js';
import type { Register } from './context.js';
import { nested } from './json.js';

export function sendCases(test: Register): void {
  test('send reaches another client', async t => {
    const [from, to] = await Promise.all([t.start(), t.start()]);
    await from.send(to.address, { reply: from.address });
    const { reply } = await to.mailbox.receive<{ reply: Address }>();
    await to.send(reply, 'hello back');
    equal(await from.mailbox.receive(), 'hello back');
  });

  test('send refuses what is not an address, a key above all', async t => {
    const client = await t.start();
    for (const text of ['', 'x', client.key, `${client.address}/..`, null, 7])
      await rejects(client.send(text as Address, 1), 'malformed-address');
    const forged = `${client.address.slice(0, -1)}${client.address.endsWith('A') ? 'E' : 'A'}`;
    const error = await rejects(client.send(forged as Address, 1), 'invalid-capability');
    equal(error.status, 403);
  });

  test('send rejects for what has no JSON, and never throws', async t => {
    const client = await t.start();
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    for (const message of [undefined, () => {}, Symbol('s'), 1n, [1n], cycle])
      await rejects(client.send(client.address, message), 'unserializable');
    for (const thrown of [Symbol('s'), Object.create(null)]) {
      const toJSON = () => {
        throw thrown;
      };
      await rejects(client.send(client.address, { toJSON }), 'unserializable');
    }
  });

  test('send to a closed mailbox tells that it is closed', async t => {
    const [from, to] = await Promise.all([t.start(), t.start()]);
    await to.close();
    const error = await rejects(from.send(to.address, 1), 'closed');
    equal(error.status, 410);
  });

  test('send tells that a message is too long, or too deep', async t => {
    const client = await t.start();
    const most = 64 * 1024;
    await client.send(client.address, 'x'.repeat(most - 2));
    const error = await rejects(client.send(client.address, 'x'.repeat(most - 1)), 'too-large');
    equal(error.status, 413);
    await client.send(client.address, nested(512));
    await rejects(client.send(client.address, nested(513)), 'malformed-json');
    equal(((await client.mailbox.receive()) as string).length, most - 2);
    equal(await client.mailbox.receive(), nested(512));
  });

  test('send tells that the server is not there', async t => {
    const proxy = await t.proxy('tcp');
    const client = await t.start({}, proxy.url);
    await proxy.set({ mode: 'refuse' });
    await rejects(client.send(client.address, 1), 'network');
  });

  test('send tells when an answer is not the server’s', async t => {
    const proxy = await t.proxy('http');
    const client = await t.start({}, proxy.url);
    await proxy.set({ refuse: { status: 502, times: 1 } });
    const error = await rejects(client.send(client.address, 1), 'unexpected-answer');
    equal(error.status, 502);
    await client.send(client.address, 2);
    equal(await client.mailbox.receive(), 2);
  });

  test('send gives up when its time is over, or by its signal', async t => {
    const proxy = await t.proxy('tcp');
    const client = await t.start({}, proxy.url);
    await proxy.set({ mode: 'mute' });
    await rejects(client.send(client.address, 1, { timeout: 20 }), 'timeout');
    const stop = new AbortController();
    const sending = client.send(client.address, 1, { signal: stop.signal }).catch(reason => reason);
    stop.abort('enough');
    equal(await sending, 'enough');
  });

  test('send gives up in the midst of a refusal', async t => {
    const proxy = await t.proxy('http');
    let refused = false;
    const client = await t.start(
      {
        async fetch(input, init) {
          const answer = await fetch(input, init);
          refused = answer.status == 503;
          return answer;
        },
      },
      proxy.url,
    );
    await proxy.set({ refuse: { status: 503, times: 2, stall: true } });
    await rejects(client.send(client.address, 1, { timeout: 500 }), 'timeout');
    refused = false;
    const stop = new AbortController();
    const sending = client.send(client.address, 1, { signal: stop.signal }).catch(reason => reason);
    await until(() => refused);
    stop.abort('enough');
    equal(await sending, 'enough');
  });

  test('send after close rejects', async t => {
    const client = await t.start();
    const closing = client.close();
    await rejects(client.send(client.address, 1), 'closed');
    await closing;
  });

  test('a message that is sent twice under one name comes once', async t => {
    const client = await t.start();
    for (const n of [1, 2]) await client.send(client.address, n, { id: 'one-name' });
    await client.send(client.address, 3);
    equal([await client.mailbox.receive(), await client.mailbox.receive()], [1, 3]);
  });

  test('send refuses a name that the server does not take', async t => {
    const client = await t.start();
    for (const id of ['', ' a', 'a b', 'a\n', 'é', '名', 'x'.repeat(129)])
      await rejects(client.send(client.address, 1, { id }), 'malformed-envelope');
    await client.send(client.address, 2, { id: '!'.repeat(64) + '~'.repeat(64) });
    equal(await client.mailbox.receive(), 2);
  });

  test('send hands on its options', async t => {
    const client = await t.start();
    await client.send(client.address, 1, { ttl: 60, keepalive: true });
    equal(await client.mailbox.receive(), 1);
    const error = await rejects(client.send(client.address, 1, { ttl: 0 }), 'malformed-envelope');
    ok(error.detail.length > 0, 'there is a detail');
  });

  test('messages to one address arrive in the order of the sends, many in a request', async t => {
    let requests = 0;
    const [from, to] = await Promise.all([
      t.start({
        fetch(input, init) {
          if (String(input).includes('/send?')) requests++;
          return fetch(input, init);
        },
      }),
      t.start(),
    ]);
    const sent: Promise<void>[] = [];
    for (let n = 0; n < 250; n++) sent.push(from.send(to.address, n));
    for (let n = 0; n < 250; n++) equal(await to.mailbox.receive(), n);
    await Promise.all(sent);
    equal(requests, 4); // 1 at once, and 100, 100 and 49
    to.serve(body => body);
    const before = from.send(to.address, 'before a call');
    equal(await from.call(to.address, 'call'), 'call');
    equal(await to.mailbox.receive(), 'before a call');
    await before;
  });

  test('of those that wait for others, each is refused, given up or in time by itself', async t => {
    const held = hold();
    const [from, to] = await Promise.all([t.start({ fetch: held.fetch }), t.start()]);
    held.shut();
    const first = from.send(to.address, 'first');
    const stop = new AbortController();
    const given = from
      .send(to.address, 'given up', { signal: stop.signal })
      .catch(reason => reason);
    const late = rejects(from.send(to.address, 'late', { timeout: 20 }), 'timeout');
    const long = rejects(from.send(to.address, 'x'.repeat(65_536)), 'too-large');
    const named = [1, 2].map(n => from.send(to.address, n, { id: 'one-name', ttl: 60 }));
    const last = from.send(to.address, 'last');
    stop.abort('enough');
    equal(await given, 'enough');
    await late;
    equal(held.bodies().length, 1);

    // Others do not wait.
    held.open();
    await from.send(from.address, 'another address');
    await from.send(to.address, 'leaves with the page', { keepalive: true });
    equal(await to.mailbox.receive(), 'leaves with the page');

    held.release();
    await Promise.all([first, long, ...named, last]);
    for (const body of ['first', 1, 'last']) equal(await to.mailbox.receive(), body);
    ok(!held.bodies().join('').includes('given up'), 'what was given up is not sent');
  });

  test('what nobody waits for any more holds up nothing', async t => {
    const held = hold();
    const client = await t.start({ fetch: held.fetch });
    held.shut();
    const stop = new AbortController();
    const first = client.send(client.address, 1, { timeout: 20 });
    const waiting = [2, 3].map(n => client.send(client.address, n, { signal: stop.signal }));
    await rejects(first, 'timeout');
    await until(() => held.bodies().length == 2);
    stop.abort('enough');
    for (const one of waiting) equal(await one.catch(reason => reason), 'enough');
    held.open();
    await client.send(client.address, 4);
    equal(await client.mailbox.receive(), 4);
    held.shut();
    const stuck = rejects(client.send(client.address, 5, { timeout: 20 }), 'timeout');
    const again = new AbortController();
    const alone = client.send(client.address, 6, { signal: again.signal }).catch(reason => reason);
    again.abort('enough');
    equal(await alone, 'enough');
    await stuck;
    held.open();
    await t.start(); // time enough to send what is left: nothing
    await client.send(client.address, 7);
    equal(await client.mailbox.receive(), 7);
    equal(
      held.bodies().map(body => body.split('\n').length - 1),
      [1, 2, 1, 1, 1],
    );
  });

  test('send obeys the restrictions of an address', async t => {
    const client = await t.start();
    const few = await attenuate(client.address, { maxBytes: 4 });
    await client.send(few, 1234);
    await rejects(client.send(few, 12345), 'too-large');
  });
}

/** A fetch that keeps sends until they are released, or given up, while it is shut. */
function hold() {
  const bodies: string[] = [];
  let gate: Promise<void> | undefined;
  let release = () => {};
  const held: typeof fetch = async (input, init) => {
    if (!String(input).includes('/send?')) return fetch(input, init);
    bodies.push(String(init?.body));
    const aborted = new Promise<void>(resolve => {
      init?.signal?.addEventListener('abort', () => resolve());
    });
    if (gate) await Promise.race([gate, aborted]);
    return fetch(input, init);
  };
  return {
    fetch: held,
    bodies: () => bodies,
    shut() {
      gate = new Promise(resolve => {
        release = resolve;
      });
    },
    /** For those that come from now on. */
    open() {
      gate = undefined;
    },
    release: () => release(),
  };
}
