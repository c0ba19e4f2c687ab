import { attenuate, type Envelope } from 'gen-browser';
import { equal, ok, rejects, throws, until } from './assert.js';
import type { Register } from './context.js';

const FALSY = [null, 0, false, ''];

export function mailboxCases(test: Register): void {
  test('a message that came before receive is received', async t => {
    const { client, arrived } = await t.startWatched();
    await client.send(client.address, { early: true });
    await arrived(1);
    equal(await client.mailbox.receive(), { early: true });
  });

  test('a pending receive gets the message when it comes', async t => {
    const client = await t.start();
    const receiving = client.mailbox.receive();
    await client.send(client.address, 'late');
    equal(await receiving, 'late');
  });

  test('messages come in the order they were sent in', async t => {
    const client = await t.start();
    for (let n = 0; n < 20; n++) await client.send(client.address, n);
    for (let n = 0; n < 20; n++) equal(await client.mailbox.receive(), n);
  });

  test('receive times out, and the mailbox goes on', async t => {
    const client = await t.start();
    await rejects(client.mailbox.receive({ timeout: 20 }), 'timeout');
    await client.send(client.address, 1);
    equal(await client.mailbox.receive({ timeout: 5_000 }), 1);
  });

  test('receive with a timeout of 0 takes only what is there', async t => {
    const { client, arrived } = await t.startWatched();
    await rejects(client.mailbox.receive({ timeout: 0 }), 'timeout');
    await client.send(client.address, 1);
    await arrived(1);
    equal(await client.mailbox.receive({ timeout: 0 }), 1);
  });

  test('receive without a limit waits', async t => {
    const client = await t.start();
    const receiving = client.mailbox.receive({ timeout: Number.POSITIVE_INFINITY });
    // A longer time than a timer can hold must not be over at once.
    const second = await t.start();
    const long = second.mailbox.receive({ timeout: 2 ** 40 });
    await client.send(client.address, 'at last');
    await client.send(second.address, 'at last');
    equal([await receiving, await long], ['at last', 'at last']);
  });

  test('receive is given up by a signal, and loses nothing', async t => {
    const { client, arrived } = await t.startWatched();
    const stop = new AbortController();
    const { signal } = stop;
    const receiving = client.mailbox.receive({ signal }).catch(reason => reason);
    stop.abort('enough');
    equal(await receiving, 'enough');
    await client.send(client.address, 'kept');
    await arrived(1);
    equal(await client.mailbox.receive({ signal }).catch(reason => reason), 'enough');
    equal(await client.mailbox.receive(), 'kept');
  });

  test('only one receive at a time', async t => {
    const client = await t.start();
    const receiving = client.mailbox.receive();
    const error = await rejects(client.mailbox.receive(), 'busy');
    equal(error.detail, 'The mailbox is read by receive already');
    await client.send(client.address, 'for the first');
    equal(await receiving, 'for the first');
  });

  test('falsy messages are messages, received', async t => {
    const client = await t.start();
    for (const message of FALSY) await client.send(client.address, message);
    for (const message of FALSY) equal(await client.mailbox.receive(), message);
    for (const message of FALSY) {
      const receiving = client.mailbox.receive();
      await client.send(client.address, message);
      equal(await receiving, message);
    }
  });

  test('falsy messages are messages, handled', async t => {
    const { client, arrived } = await t.startWatched();
    for (const message of FALSY) await client.send(client.address, message);
    await arrived(FALSY.length);
    const handled: unknown[] = [];
    client.mailbox.handle(message => handled.push(message));
    for (const message of FALSY) await client.send(client.address, message);
    await until(() => handled.length == 8);
    equal(handled, [...FALSY, ...FALSY]);
  });

  test('falsy messages are messages, iterated', async t => {
    const client = await t.start();
    for (const message of FALSY) await client.send(client.address, message);
    const seen: unknown[] = [];
    for await (const message of client.mailbox) {
      seen.push(message);
      if (seen.length == FALSY.length) break;
    }
    equal(seen, FALSY);
  });

  test('a handler gets what came before it, and then the rest, in order', async t => {
    const { client, arrived } = await t.startWatched();
    for (let n = 0; n < 5; n++) await client.send(client.address, n);
    await arrived(5);
    const handled: unknown[] = [];
    client.mailbox.setHandler(message => handled.push(message));
    equal(handled, []);
    for (let n = 5; n < 10; n++) await client.send(client.address, n);
    await until(() => handled.length == 10);
    equal(handled, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('a handler is waited for', async t => {
    const { client, arrived } = await t.startWatched();
    const log: string[] = [];
    let go = () => {};
    client.mailbox.handle(async message => {
      log.push(`begin ${message}`);
      await new Promise<void>(resolve => {
        go = resolve;
      });
      log.push(`end ${message}`);
    });
    for (const message of ['a', 'b']) await client.send(client.address, message);
    await until(() => log.length == 1);
    await arrived(2);
    equal(log, ['begin a']);
    go();
    await until(() => log.length == 3);
    equal(log, ['begin a', 'end a', 'begin b']);
    go();
    await until(() => log.length == 4);
  });

  test('what a handler throws does not stop the next message', async t => {
    const errors: unknown[] = [];
    const client = await t.start({ onError: error => errors.push(error) });
    const handled: unknown[] = [];
    client.mailbox.handle(message => {
      handled.push(message);
      if (message == 1) throw new Error('thrown');
      if (message == 2) return Promise.reject(new Error('rejected'));
      return undefined;
    });
    for (const message of [1, 2, 3]) await client.send(client.address, message);
    await until(() => handled.length == 3);
    equal(errors.map(String), ['Error: thrown', 'Error: rejected']);
  });

  test('no receive while there is a handler', async t => {
    const client = await t.start();
    const handled: unknown[] = [];
    client.mailbox.handle(message => handled.push(message));
    const error = await rejects(client.mailbox.receive(), 'busy');
    equal(error.detail, 'The mailbox is read by a handler already');
    await rejects(client.mailbox[Symbol.asyncIterator]().next(), 'busy');
    await client.send(client.address, 1);
    await until(() => handled.length);
  });

  test('a handler is set once', async t => {
    const client = await t.start();
    const handled: unknown[] = [];
    client.mailbox.handle(message => handled.push(message));
    const error = await throws(() => client.mailbox.handle(() => {}), 'busy');
    equal(error.detail, 'The mailbox is read by a handler already');
    await client.send(client.address, 1);
    await until(() => handled.length);
  });

  test('what is no function handles nothing', async t => {
    const client = await t.start();
    for (const handler of [undefined, null, {}, 'x']) {
      await throws(() => client.mailbox.handle(handler as never), 'malformed-request');
      await throws(() => client.serve(handler as never), 'malformed-request');
    }
    await client.send(client.address, 'not lost');
    equal(await client.mailbox.receive(), 'not lost');
    const stop = client.serve(body => body);
    equal(await client.call(client.address, 1), 1);
    stop();
  });

  test('no handler while a receive is pending, and no message stranded', async t => {
    const client = await t.start();
    const receiving = client.mailbox.receive();
    const error = await throws(() => client.mailbox.handle(() => {}), 'busy');
    equal(error.detail, 'The mailbox is read by receive already');
    await client.send(client.address, 1);
    equal(await receiving, 1);
    const handled: unknown[] = [];
    client.mailbox.handle(message => handled.push(message));
    await client.send(client.address, 2);
    await until(() => handled.length);
    equal(handled, [2]);
  });

  test('iteration ends with the program’s own close', async t => {
    const client = await t.start();
    const seen: unknown[] = [];
    for (const message of [1, 2]) await client.send(client.address, message);
    for await (const message of client.mailbox) {
      seen.push(message);
      if (message == 2) client.close();
    }
    equal(seen, [1, 2]);
  });

  test('iteration is the only reader, and a break frees the mailbox', async t => {
    const client = await t.start();
    const iterator = client.mailbox[Symbol.asyncIterator]();
    const next = iterator.next();
    const error = await rejects(client.mailbox.receive(), 'busy');
    equal(error.detail, 'The mailbox is read by an iteration already');
    await throws(() => client.mailbox.handle(() => {}), 'busy');
    await client.send(client.address, 1);
    equal((await next).value, 1);
    await rejects(client.mailbox.receive(), 'busy');
    await iterator.return();
    await client.send(client.address, 2);
    equal(await client.mailbox.receive(), 2);
  });

  test('close rejects a pending receive', async t => {
    const client = await t.start();
    const receiving = rejects(client.mailbox.receive(), 'closed');
    await client.close();
    equal((await receiving).detail, 'Mailbox is closed');
  });

  test('receive and handle on a closed mailbox tell that it is closed', async t => {
    const client = await t.start();
    await client.close();
    await rejects(client.mailbox.receive(), 'closed');
    await rejects(client.mailbox.receive({ timeout: 0 }), 'closed');
    await throws(() => client.mailbox.handle(() => {}), 'closed');
    for await (const _ of client.mailbox) ok(false, 'there is no message');
  });

  test('what had arrived can be taken after close', async t => {
    const { client, arrived } = await t.startWatched();
    for (const message of [null, 2]) await client.send(client.address, message);
    await arrived(2);
    await client.close();
    equal(await client.mailbox.receive(), null);
    const handled: unknown[] = [];
    client.mailbox.handle(message => handled.push(message));
    await until(() => handled.length);
    equal(handled, [2]);
  });

  test('closed resolves when the program closes', async t => {
    const client = await t.start();
    await client.close();
    equal(await client.mailbox.closed, { state: 'closed', reason: 'closed' });
    equal(client.status, { state: 'closed', reason: 'closed' });
  });

  test('closing twice is harmless', async t => {
    const statuses: string[] = [];
    const client = await t.start({ onStatus: ({ state }) => statuses.push(state) });
    await Promise.all([client.close(), client.close({ keep: true })]);
    await client.close();
    equal(statuses, ['open', 'closed']);
  });

  test('a mailbox that was kept is closed by who resumes it', async t => {
    const [kept, other] = await Promise.all([t.start(), t.start()]);
    await kept.close({ keep: true });
    await kept.close();
    await other.send(kept.address, 'it lives on');
    await (await t.start({ key: kept.key })).close();
    await rejects(other.send(kept.address, 1), 'closed');
  });

  test('an envelope carries what travelled around the body', async t => {
    const client = await t.start();
    const to = await attenuate(client.address, { label: 'shop' });
    const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const reply = client.address;
    await fetch(`${t.server}/_gb/send`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: `${JSON.stringify({ to, body: [1], kind: 'call', ref: '7', reply, trace })}\n`,
    });
    await client.send(client.address, 'plain');
    const want: Envelope = { kind: 'call', ref: '7', reply, via: ['shop'], trace, body: [1] };
    equal(await client.mailbox.receiveEnvelope(), want);
    const plain = new Promise<Envelope>(resolve => {
      client.mailbox.handle((_, envelope) => resolve(envelope));
    });
    equal(await plain, { kind: 'message', body: 'plain' });
  });

  test('what is taken is acknowledged, so that there is room for more', async t => {
    const server = await t.serve('--backlog', '8');
    const client = await t.start({}, server);
    for (let n = 0; n < 8; n++) await client.send(client.address, n);
    const full = await rejects(client.send(client.address, 8), 'full');
    equal(full.status, 429);
    ok(Number(full.retryAfter) > 0, `it tells when to try again: ${full.retryAfter}`);
    // A quarter of the mailbox is acknowledged at a time.
    for (let n = 0; n < 40; n += 2) {
      equal(await client.mailbox.receive(), n);
      equal(await client.mailbox.receive(), n + 1);
      await until(() =>
        client.send(client.address, n + 8).then(
          () => true,
          () => false,
        ),
      );
      await client.send(client.address, n + 9);
    }
  });
}
