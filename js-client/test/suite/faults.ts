import { type StartOptions, start } from 'gen-browser';
import { instead, page, problem } from './answers.js';
import { equal, ok, rejects, until } from './assert.js';
import {
  type Context,
  type Register,
  reaches,
  storage,
  wakingEvents,
  withoutJitter,
} from './context.js';

/** What others do wrong: who speaks in the server's place, and callbacks that throw. */
export function faultCases(test: Register): void {
  test('a page in the place of the server accepts nothing', async t => {
    const client = await t.start({
      fetch: instead(({ url }) => (url.includes('/send?') ? page(200) : undefined)),
    });
    await rejects(client.send(client.address, 1), 'unexpected-answer');
  });

  test('an acknowledgement that reached no server is repeated', async t => {
    const server = await t.serve('--backlog', '8');
    let asked = 0;
    let strangers = true;
    const client = await t.start(
      {
        fetch: instead(({ url }) =>
          strangers && url.endsWith('/ack') ? page(asked++ % 2 ? 404 : 200) : undefined,
        ),
      },
      server,
    );
    const sender = await t.start({}, server);
    for (let n = 0; n < 8; n++) await sender.send(client.address, n);
    for (let n = 0; n < 8; n++) equal(await client.mailbox.receive(), n);
    await until(() => asked >= 2);
    await rejects(sender.send(client.address, 'no room'), 'full');
    strangers = false;
    await until(() =>
      sender.send(client.address, 8).then(
        () => true,
        () => false,
      ),
    );
    equal(await client.mailbox.receive(), 8);
  });

  test('an acknowledgement waits as long as Retry-After says', async t => {
    // Chance would make the pause a client's own long enough.
    withoutJitter(t);
    const server = await t.serve('--backlog', '4');
    const asked: number[] = [];
    const client = await t.start(
      {
        fetch: instead(({ url }) => {
          if (!url.endsWith('/ack') || asked.push(Date.now()) > 1) return undefined;
          return problem(429, 'too-many-requests', { 'retry-after': '1' });
        }),
      },
      server,
    );
    await client.send(client.address, 1);
    equal(await client.mailbox.receive(), 1);
    await until(() => asked.length == 2);
    const [first = 0, second = 0] = asked;
    ok(second - first >= 990, `${second - first} ms are a second`);
  });

  test('a page in the place of a reconnection ends nothing', async t => {
    const proxy = await t.proxy('tcp');
    const answers: Response[] = [];
    const client = await t.start(
      { fetch: instead(({ url }) => (url.includes('/mailbox') ? answers.shift() : undefined)) },
      proxy.url,
    );
    answers.push(page(404), page(403));
    await cut(proxy);
    await until(() => !answers.length);
    await client.send(client.address, 'still there');
    equal(await client.mailbox.receive(), 'still there');
  });

  test('a key whose time is over is expired', async t => {
    const proxy = await t.proxy('tcp');
    let over = false;
    const refused = () => problem(403, 'capability-expired');
    const client = await t.start(
      { fetch: instead(({ url }) => (over && url.includes('/mailbox') ? refused() : undefined)) },
      proxy.url,
    );
    over = true;
    await cut(proxy);
    const { reason, error } = await client.mailbox.closed;
    equal([reason, error?.code], ['expired', 'capability-expired']);
    await rejects(client.mailbox.receive(), 'expired');
  });

  test('callbacks that throw stop nothing, even if onError throws as well', async t => {
    const proxy = await t.proxy('tcp');
    const { error: original } = console;
    let told = 0;
    console.error = () => told++;
    t.after(() => {
      console.error = original;
    });
    const fail = (what: unknown) => {
      throw what;
    };
    const client = await t.start({ onError: fail, onStatus: fail }, proxy.url);
    const got: unknown[] = [];
    client.mailbox.handle(message => {
      got.push(message);
      throw new Error('of the program');
    });
    await client.send(client.address, 1);
    await until(() => got.length == 1);
    await cut(proxy);
    await client.send(client.address, 2);
    await until(() => got.length == 2);
    equal(got, [1, 2]);
    ok(told >= 3, `${told} faults were told`);
  });

  test('a listener that closes the client has the last word', async t => {
    const proxy = await t.proxy('tcp');
    const client = await t.start({}, proxy.url);
    const seen: string[] = [];
    client.onStatus(({ state }) => {
      if (state == 'reconnecting') client.close();
    });
    client.onStatus(({ state }) => seen.push(state));
    await cut(proxy);
    await client.mailbox.closed;
    equal(seen, ['closed']);
  });

  test('waking up does not skip what the server asked for', async t => {
    const { dispatch } = wakingEvents(t);
    const proxy = await t.proxy('tcp');
    let refusedAt = 0;
    let askedAt = 0;
    let cutOff = false;
    const client = await t.start(
      {
        fetch: instead(({ url }) => {
          if (!cutOff || !url.includes('/mailbox')) return undefined;
          if (refusedAt) {
            askedAt ||= Date.now();
            return undefined;
          }
          refusedAt = Date.now();
          return problem(429, 'too-many-streams', { 'retry-after': '1' });
        }),
      },
      proxy.url,
    );
    cutOff = true;
    await cut(proxy);
    await until(() => {
      dispatch('online');
      return askedAt > 0;
    });
    ok(askedAt - refusedAt >= 990, `${askedAt - refusedAt} ms are a second`);
    await reaches(client, 'open');
  });

  test('a monitor that could not be taken back can be taken back again', async t => {
    let fail = true;
    const asked: string[] = [];
    const client = await t.start({
      fetch: instead(({ body }) => {
        if (!body.includes('"demonitor"')) return undefined;
        asked.push(body);
        return fail ? problem(413, 'too-large') : undefined;
      }),
    });
    const other = await t.start();
    const { stop } = await client.monitor(other.address);
    await rejects(stop(), 'too-large');
    fail = false;
    await stop();
    await stop();
    equal(asked.length, 2);
  });

  test('an answer to a call waits for room', async t => {
    const answers = [problem(429, 'full'), problem(429, 'full')];
    const server = await t.start({
      fetch: instead(({ body }) => (body.includes('"kind":"reply"') ? answers.shift() : undefined)),
    });
    server.serve(() => 'done');
    const client = await t.start();
    equal(await client.call(server.address, 1), 'done');
    equal(answers.length, 0);
  });

  test('what is taken after a lasting refusal does not come again', async t => {
    const proxy = await t.proxy('tcp');
    const store = storage();
    let refused = false;
    const asked: StartOptions = {
      storage: store,
      fetch: instead(({ url }) =>
        refused && url.includes('/mailbox') ? problem(403, 'origin-not-allowed') : undefined,
      ),
    };
    const client = await t.start(asked, proxy.url);
    for (let n = 0; n < 3; n++) await client.send(client.address, n);
    equal(await client.mailbox.receive(), 0);
    // The others have arrived as well, once something that was sent after them is known to have.
    const { down } = await client.monitor(client.address);
    down.catch(() => {});
    refused = true;
    await cut(proxy);
    equal((await client.mailbox.closed).reason, 'error');
    equal([await client.mailbox.receive(), await client.mailbox.receive()], [1, 2]);
    refused = false;
    const again = await t.start(asked, proxy.url);
    equal(again.resumed, true);
    await again.send(again.address, 'next');
    equal(await again.mailbox.receive(), 'next');
  });

  test("closing forgets the client's own mailbox, not another tab's", async t => {
    const store = storage();
    const one = await t.start({ storage: store });
    const [name = '', own = ''] = [...store.items][0] ?? [];
    const others = own.replace(/gbk_[^"]*/, `${one.key.slice(0, -4)}AAAA`);
    store.setItem(name, others);
    await one.close();
    equal([...store.items], [[name, others]]);
    store.setItem(name, own);
    const two = await start(t.server, { storage: store });
    await two.close();
    equal([...store.items], []);
  });

  test('a saved position that makes no sense is begun anew', async t => {
    const store = storage();
    const one = await t.start({ storage: store });
    await one.send(one.address, 1);
    await one.close({ keep: true });
    const [name = '', saved = ''] = [...store.items][0] ?? [];
    // A header takes the first only.
    for (const cursor of ['nonsense', 'a\nb', '…']) {
      store.setItem(name, JSON.stringify({ ...JSON.parse(saved), cursor }));
      const gaps: number[] = [];
      const two = await t.start({
        storage: store,
        timeout: 5_000,
        onGap: missing => gaps.push(missing),
      });
      equal([two.resumed, two.key == one.key, gaps.length], [true, true, 1]);
      equal(await two.mailbox.receive(), 1);
      const given = { key: one.key, cursor, timeout: 5_000 };
      await rejects(t.start(given), 'malformed-cursor');
      const polling = await t.start({ ...given, transport: 'long-poll' });
      equal((await polling.mailbox.closed).error?.code, 'malformed-cursor');
    }
  });
}

async function cut(proxy: Awaited<ReturnType<Context['proxy']>>): Promise<void> {
  await proxy.set({ mode: 'refuse' });
  await proxy.set({ mode: 'pass' });
}
