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

  test('send refuses a name that no header takes as it is', async t => {
    const client = await t.start();
    for (const id of ['', ' a', 'a b', 'a\n', 'é', '名', 'x'.repeat(129)])
      await rejects(client.send(client.address, 1, { id }), 'malformed-request');
    await client.send(client.address, 2, { id: '!'.repeat(64) + '~'.repeat(64) });
    equal(await client.mailbox.receive(), 2);
  });

  test('send hands on its options', async t => {
    const client = await t.start();
    await client.send(client.address, 1, { ttl: 60, keepalive: true });
    equal(await client.mailbox.receive(), 1);
    const error = await rejects(client.send(client.address, 1, { ttl: 0 }), 'malformed-request');
    ok(error.detail.length > 0, 'there is a detail');
  });

  test('send obeys the restrictions of an address', async t => {
    const client = await t.start();
    const few = await attenuate(client.address, { maxBytes: 4 });
    await client.send(few, 1234);
    await rejects(client.send(few, 12345), 'too-large');
  });
}
