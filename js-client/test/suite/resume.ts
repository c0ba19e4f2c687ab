import {
  attenuate,
  type MailboxKey,
  type MailboxStorage,
  type Right,
  type Status,
  start,
} from 'gen-browser';
import { equal, ok, rejects, throws, until } from './assert.js';
import { type Register, reaches, storage } from './context.js';

export function resumeCases(test: Register): void {
  test('a reload loses nothing and repeats nothing', async t => {
    const store = storage();
    const sender = await t.start();
    const before = await t.start({ storage: store });
    for (let n = 0; n < 5; n++) await sender.send(before.address, n);
    equal(await before.mailbox.receive(), 0);
    equal(await before.mailbox.receive(), 1);
    // The page goes away: nothing is closed, and what was not taken is forgotten with it.
    const after = await t.start({ storage: store });
    equal(after.resumed, true);
    equal(after.address, before.address);
    for (let n = 5; n < 8; n++) await sender.send(after.address, n);
    for (let n = 2; n < 8; n++) equal(await after.mailbox.receive(), n);
    await rejects(after.mailbox.receive({ timeout: 0 }), 'timeout');
  });

  test('a message counts as taken when its handler is done', async t => {
    const store = storage();
    const before = await t.start({ storage: store });
    const handled: unknown[] = [];
    before.mailbox.handle(async message => {
      handled.push(message);
      if (message == 1) await new Promise(() => {});
    });
    for (let n = 0; n < 3; n++) await before.send(before.address, n);
    await until(() => handled.length == 2);
    const after = await t.start({ storage: store });
    for (let n = 1; n < 3; n++) equal(await after.mailbox.receive(), n);
  });

  test('many reloads leave room in the mailbox', async t => {
    const server = await t.serve('--backlog', '8');
    const store = storage();
    let client = await t.start({ storage: store }, server);
    const sender = await t.start({}, server);
    for (let n = 0; n < 24; n++) {
      await until(() =>
        sender.send(client.address, n).then(
          () => true,
          () => false,
        ),
      );
      equal(await client.mailbox.receive(), n);
      client = await t.start({ storage: store }, server);
    }
  });

  test('a mailbox is resumed by its key, after what was taken', async t => {
    const first = await t.start();
    for (let n = 0; n < 3; n++) await first.send(first.address, n);
    equal(await first.mailbox.receive(), 0);
    const { key, cursor, address } = first;
    const second = await t.start({ key, cursor });
    equal([second.resumed, second.address], [true, address]);
    equal(await second.mailbox.receive(), 1);
    equal(await second.mailbox.receive(), 2);
  });

  test('a key that was narrowed comes with an address that is as narrow, or with none', async t => {
    const [owner, other] = await Promise.all([t.start(), t.start()]);
    other.serve(body => body);
    const { down } = await other.monitor(owner.address);
    const narrow = async (...rights: Right[]) =>
      (await attenuate(owner.key, { rights: ['read', 'ack', ...rights] })) as MailboxKey;

    for (const transport of ['sse', 'long-poll'] as const) {
      const sender = await t.start({ key: await narrow('send'), transport });
      equal(await sender.call(other.address, transport), transport);
      await rejects(other.call(sender.address, 1), 'missing-right');
      await other.send(sender.address, 'by it');
      equal(await sender.mailbox.receive(), 'by it');
      await sender.close({ keep: true });

      const reader = await t.start({ key: await narrow('exit', 'close'), transport });
      await throws(() => reader.address, 'missing-right');
      for (const ask of [reader.call, reader.monitor, reader.link] as const)
        await rejects(ask(other.address, 1 as never), 'missing-right');
      await reader.send(owner.address, 'whatever it is');
      equal(await reader.mailbox.receive(), 'whatever it is');
      await reader.close({ keep: true });
    }
    await (await t.start({ key: await narrow('close') })).close();
    equal(await down, { reason: 'closed' });
  });

  test('a mailbox that is kept is resumed where it was left', async t => {
    const store = storage();
    const { client: first, arrived } = await t.startWatched({ storage: store });
    for (let n = 0; n < 3; n++) await first.send(first.address, n);
    await arrived(3);
    equal(await first.mailbox.receive(), 0);
    const { key, address } = first;
    await first.close({ keep: true });
    await rejects(first.mailbox.receive(), 'closed');
    // Without a position, because what was taken is acknowledged.
    const second = await t.start({ key });
    equal(second.address, address);
    equal(await second.mailbox.receive(), 1);
    await second.close({ keep: true });
    const third = await t.start({ key });
    equal(await third.mailbox.receive(), 2);
  });

  test('a mailbox that is closed is not resumed', async t => {
    const store = storage();
    const first = await t.start({ storage: store });
    await first.close();
    equal(store.items.size, 0);
    const second = await t.start({ storage: store });
    equal(second.resumed, false);
    ok(second.address != first.address, 'it is another mailbox');
  });

  test('a stored mailbox that died is replaced by a new one', async t => {
    const store = storage();
    const first = await t.start({ storage: store });
    const items = [...store.items];
    await first.close();
    for (const [name, value] of items) store.setItem(name, value);
    const second = await t.start({ storage: store });
    equal(second.resumed, false);
    ok(second.address != first.address, 'it is another mailbox');
    equal(JSON.parse([...store.items.values()][0] ?? '').key, second.key);
  });

  test('a stored mailbox outlives a start that gave up', async t => {
    const proxy = await t.proxy('tcp');
    const store = storage();
    const first = await t.start({ storage: store }, proxy.url);
    await first.send(first.address, 'kept');
    await proxy.set({ mode: 'refuse' });
    await rejects(t.start({ storage: store, timeout: 50 }, proxy.url), 'timeout');
    await proxy.set({ mode: 'pass' });
    const second = await t.start({ storage: store }, proxy.url);
    equal([second.resumed, second.address], [true, first.address]);
    equal(await second.mailbox.receive(), 'kept');
  });

  test('a position is acknowledged only in the mailbox that it is of', async t => {
    const store = storage();
    const first = await t.start({ storage: store });
    for (let n = 0; n < 3; n++) await first.send(first.address, n);
    for (let n = 0; n < 3; n++) await first.mailbox.receive();
    const items = [...store.items];
    await first.close();
    for (const [name, value] of items) store.setItem(name, value);
    const asked: string[] = [];
    const fetcher: typeof fetch = (input, init) => {
      asked.push(`${init?.method ?? 'GET'} ${String(input).slice(t.server.length)}`);
      return fetch(input, init);
    };
    const second = await t.start({ storage: store, fetch: fetcher });
    for (let n = 0; n < 3; n++) await second.send(second.address, n);
    for (let n = 0; n < 3; n++) equal(await second.mailbox.receive(), n);
    const streams = ['GET /_gb/mailbox?ack=manual', 'GET /_gb/mailbox?new&ack=manual'];
    const others = asked.filter(request => !request.includes('/send'));
    equal([...new Set(others)], streams); // on a busy machine it may ask again
  });

  test('a key that is dead makes start reject', async t => {
    const first = await t.start();
    await first.close();
    const error = await rejects(start(t.server, { key: first.key }), 'closed');
    equal(error.status, 410);
  });

  test('a position of another epoch is read from the start, and told as a gap', async t => {
    const first = await t.start();
    await first.send(first.address, 'here');
    const epoch = first.cursor.startsWith('00000000') ? '00000001' : '00000000';
    const gaps: number[] = [];
    const second = await t.start({
      key: first.key,
      cursor: `${epoch}.1`,
      onGap: missing => gaps.push(missing),
    });
    const { body, gap } = await second.mailbox.receiveEnvelope();
    equal([body, gaps.length, gaps[0] === gap], ['here', 1, true]);
    equal(gap === Number.POSITIVE_INFINITY, true);
    // What it knows from then on is of this epoch.
    equal(second.cursor.split('.')[0], first.cursor.split('.')[0]);
  });

  test('messages that were dropped are told as a gap', async t => {
    const server = await t.serve('--backlog', '4', '--overflow', 'drop-oldest');
    const sender = await t.start({}, server);
    const first = await t.start({}, server);
    const { key, address, cursor } = first;
    await first.close({ keep: true });
    for (let n = 0; n < 10; n++) await sender.send(address, n);
    const gaps: number[] = [];
    const second = await t.start({ key, cursor, onGap: gap => gaps.push(gap) }, server);
    equal(await second.mailbox.receiveEnvelope(), { kind: 'message', body: 6, gap: 6 });
    equal(await second.mailbox.receiveEnvelope(), { kind: 'message', body: 7 });
    equal(gaps, [6]);
  });

  test('two pages with one storage never fight', async t => {
    const kept = storage();
    let removals = 0;
    const removeItem = (name: string) => {
      removals++;
      kept.removeItem(name);
    };
    const store = { ...kept, removeItem };
    const statuses: Status[] = [];
    const first = await t.start({ storage: store, onStatus: status => statuses.push(status) });
    const receiving = rejects(first.mailbox.receive(), 'taken-over');
    const second = await t.start({ storage: store });
    await reaches(first, 'closed');
    await receiving;
    const end = await first.mailbox.closed;
    equal([end.reason, end.error?.code], ['taken-over', 'taken-over']);
    // Neither its end nor its close() harms the other's mailbox.
    await first.close();
    equal(
      statuses.map(({ state }) => state),
      ['open', 'closed'],
    );
    await second.send(second.address, 'still here');
    equal(await second.mailbox.receive(), 'still here');
    equal([store.items.size, removals], [1, 0]);
  });

  test('a page that slept while another opened a mailbox anew leaves that in the storage', async t => {
    const { items, ...store } = storage();
    // The pages have one server, though one of them goes by a proxy.
    const shared: MailboxStorage = {
      getItem: () => store.getItem('shared'),
      setItem: (_, value) => store.setItem('shared', value),
      removeItem: () => store.removeItem('shared'),
    };
    const proxy = await t.proxy('tcp');
    const slept = await t.start({ storage: shared }, proxy.url);
    let handle: (() => void) | undefined;
    slept.mailbox.handle(() => new Promise<void>(resolve => (handle = resolve)));
    const { cursor, key } = slept;
    await slept.send(slept.address, 1);
    await until(() => handle);
    await proxy.set({ mode: 'refuse' });
    await reaches(slept, 'reconnecting');
    await (await t.start({ key })).close();
    const next = await t.start({ storage: shared });
    const saved = JSON.stringify({ key: next.key, cursor: next.cursor });
    handle?.();
    await until(() => slept.cursor != cursor);
    equal([...items], [['shared', saved]]);
    await proxy.set({ mode: 'pass' });
    await slept.mailbox.closed;
    equal([...items], [['shared', saved]]);
  });
}
