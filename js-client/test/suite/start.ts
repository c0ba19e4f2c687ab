import { isAddress, type Status, start } from 'gen-browser';
import { equal, ok, rejects, until } from './assert.js';
import type { Register } from './context.js';
import { storage } from './context.js';

export function startCases(test: Register): void {
  test('start resolves with an open mailbox', async t => {
    const seen: Status[] = [];
    const client = await t.start({ onStatus: status => seen.push(status) });
    ok(isAddress(client.address), `${client.address} is an address`);
    ok(client.key.startsWith('gbk_'), `${client.key} is a key`);
    ok(client.cursor.length > 0, 'there is a position');
    equal(client.resumed, false);
    equal(client.status, { state: 'open', transport: 'sse' });
    equal(seen, [{ state: 'open', transport: 'sse' }]);
  });

  test("start hands out the operator's config", async t => {
    const server = await t.serve('--config', '{"greeting":["hello",null]}');
    const { config } = await t.start<{ greeting: unknown[] }>({}, server);
    equal(config, { greeting: ['hello', null] });
    const polled = await t.start({ transport: 'long-poll' }, server);
    equal(polled.config, { greeting: ['hello', null] });
  });

  test('start takes a URL with a slash at its end, a prefix, and a fetch', async t => {
    const asked: string[] = [];
    const fetcher: typeof fetch = (input, init) => {
      asked.push(String(input));
      return fetch(input, init);
    };
    await t.start({ prefix: '/_gb', fetch: fetcher }, `${t.server}/`);
    equal(asked, [`${t.server}/_gb/mailbox?new&ack=manual`]);
  });

  test('start survives a server that is not there yet', async t => {
    const proxy = await t.proxy('tcp', t.server, { mode: 'refuse' });
    const starting = t.start({}, proxy.url);
    await until(async () => Number((await proxy.count()).connections) >= 2);
    await proxy.set({ mode: 'pass' });
    equal((await starting).status.state, 'open');
  });

  test('start survives answers that will not last', async t => {
    const proxy = await t.proxy('http', t.server, { refuse: { status: 503, times: 2 } });
    const client = await t.start({}, proxy.url);
    equal(client.status.state, 'open');
    equal((await proxy.count()).refused, 2);
  });

  test('start waits as long as Retry-After says', async t => {
    const refuse = { status: 429, times: 1, retryAfter: 1 };
    const proxy = await t.proxy('http', t.server, { refuse });
    const began = Date.now();
    await t.start({ fetch: withRetryAfter('1') }, proxy.url);
    ok(Date.now() - began >= 990, `${Date.now() - began} ms are a second`);
  });

  test('start gives up when its time is over, and tells what went wrong', async t => {
    const proxy = await t.proxy('tcp', t.server, { mode: 'refuse' });
    const refused = await rejects(t.start({ timeout: 1_000 }, proxy.url), 'timeout');
    equal((refused.cause as { code: string }).code, 'network');
    await proxy.set({ mode: 'mute' });
    await rejects(t.start({ timeout: 50 }, proxy.url), 'timeout');
    // Nobody goes on trying behind its back.
    await until(async () => !(await proxy.count()).open);
  });

  test('start with a timeout of 0 gives up at once', async t => {
    let asked = 0;
    const fetcher: typeof fetch = () => {
      asked++;
      throw new Error('not to be called');
    };
    await rejects(t.start({ timeout: 0, fetch: fetcher }), 'timeout');
    equal(asked, 0);
  });

  test("start passes on the reason of its signal's abort", async t => {
    const proxy = await t.proxy('tcp', t.server, { mode: 'mute' });
    const stop = new AbortController();
    const starting = t.start({ signal: stop.signal }, proxy.url).catch(reason => reason);
    await until(async () => (await proxy.count()).connections);
    stop.abort('no longer wanted');
    equal(await starting, 'no longer wanted');
    let asked = 0;
    const fetcher: typeof fetch = (input, init) => {
      asked++;
      return fetch(input, init);
    };
    const signal = AbortSignal.abort('never wanted');
    equal(
      await start(t.server, { signal, fetch: fetcher }).catch(reason => reason),
      'never wanted',
    );
    equal(asked, 0);
  });

  test('start rejects at once where trying again makes no sense', async t => {
    const error = await rejects(t.start({ prefix: '/elsewhere' }), 'not-found');
    equal(error.status, 404);
    await rejects(t.start({ key: 'gbk_nonsense' }), 'malformed-address');
  });

  test('start refuses what is not a key, and never quotes one', async t => {
    const { key } = await t.start();
    for (const text of [key.replace('_', '_\n'), `${key}…`, `${key} `, 7]) {
      const error = await rejects(
        t.start({ key: text as string, timeout: 1_000 }),
        'malformed-address',
      );
      ok(!error.detail.includes(key.slice(-20)), `${error.detail} keeps the key to itself`);
    }
    const fetcher: typeof fetch = async (_, init) => {
      throw new TypeError(`This can't be sent: ${JSON.stringify(init)}`);
    };
    const error = await rejects(t.start({ key, timeout: 100, fetch: fetcher }), 'timeout');
    ok(!error.detail.includes(key), `${error.detail} keeps the key to itself`);
  });

  test('start refuses at once what is no URL of a server', async t => {
    for (const url of ['localhost:8080', 'ws://localhost', 'file:///x', 'http://'])
      await rejects(t.start({ timeout: 1_000 }, url), 'malformed-request');
  });

  test('start ignores what it can not read in the storage', async t => {
    const store = storage();
    const name = `gen-browser:${t.server}/_gb`;
    for (const spoilt of ['{"key":', '{"key":"gbk_a\\nb"}', '{"key":["gbk_x"]}']) {
      store.items.set(name, spoilt);
      const client = await t.start({ storage: store, timeout: 1_000 });
      equal(client.resumed, false);
      const saved = JSON.parse(store.items.get(name) ?? '');
      equal(saved, { key: client.key, cursor: client.cursor });
    }
  });

  test('start goes on when the storage fails', async t => {
    const errors: unknown[] = [];
    const full = () => {
      throw new Error('The storage is full');
    };
    const client = await t.start({
      storage: { getItem: full, setItem: full, removeItem: full },
      onError: error => errors.push(error),
    });
    equal(client.status.state, 'open');
    equal(String(errors[0]), 'Error: The storage is full');
  });
}

/** A page sees this header only where the proxy lets it. */
function withRetryAfter(seconds: string): typeof fetch {
  return async (input, init) => {
    const answer = await fetch(input, init);
    if (answer.ok) return answer;
    return new Response(answer.body, {
      status: answer.status,
      headers: { 'retry-after': seconds },
    });
  };
}
