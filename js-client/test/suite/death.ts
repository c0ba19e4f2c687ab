import { equal, rejects, until } from './assert.js';
import { type Register, reaches, storage } from './context.js';

export function deathCases(test: Register): void {
  test('a mailbox that is closed elsewhere tells the program', async t => {
    const store = storage();
    const client = await t.start({ storage: store });
    const receiving = rejects(client.mailbox.receive(), 'closed');
    const answer = await fetch(`${t.server}/_gb/mailbox`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${client.key}` },
    });
    equal(answer.status, 204);
    await receiving;
    const { reason, error } = await client.mailbox.closed;
    equal([reason, error?.code], ['closed', 'closed']);
    equal(store.items.size, 0);
    const other = await t.start();
    await rejects(other.send(client.address, 1), 'closed');
    // The client can still send: that needs no mailbox.
    await client.send(other.address, 'from the dead');
    equal(await other.mailbox.receive(), 'from the dead');
  });

  test('a server that lost the mailbox is not asked for ever', async t => {
    const server = await t.serve();
    const client = await t.start({}, server);
    await t.restart(server);
    const { reason, error } = await client.mailbox.closed;
    equal([reason, error?.code, error?.status], ['gone', 'gone', 410]);
    equal(client.status.state, 'closed');
  });

  test('a long-poll tells that the mailbox is dead', async t => {
    const server = await t.serve();
    const client = await t.start({ transport: 'long-poll' }, server);
    await t.restart(server);
    equal((await client.mailbox.closed).reason, 'gone');
  });

  test('iteration throws when the mailbox dies', async t => {
    const client = await t.start();
    const seen: unknown[] = [];
    const iterate = async () => {
      for await (const message of client.mailbox) seen.push(message);
    };
    const loop = rejects(iterate(), 'taken-over');
    await client.send(client.address, 1);
    await until(() => seen.length);
    await t.start({ key: client.key });
    await loop;
  });

  test('a server that shuts down is waited for', async t => {
    const server = await t.serve();
    const client = await t.start({}, server);
    await t.stop(server);
    await reaches(client, 'reconnecting');
    const closing = client.close();
    equal(client.status, { state: 'closed', reason: 'closed' });
    await closing;
  });

  test('a mailbox that slept too long is told as expired', async t => {
    const server = await t.serve('--asleep', '50ms');
    const first = await t.start({}, server);
    const { key } = first;
    await first.close({ keep: true });
    const sender = await t.start({}, server);
    await until(async () => {
      const code = await sender.send(first.address, 1).catch(error => error.code);
      return code == 'expired';
    });
    await rejects(t.start({ key }, server), 'expired');
  });
}
