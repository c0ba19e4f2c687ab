import { type Address, attenuate } from 'gen-browser';
import { equal, ok, rejects } from './assert.js';
import { type Register, reaches } from './context.js';

export function watchCases(test: Register): void {
  test('a monitor tells that a mailbox was closed', async t => {
    const [client, other] = await Promise.all([t.start(), t.start()]);
    const { down } = await client.monitor(other.address);
    await other.close();
    equal(await down, { reason: 'closed' });
  });

  test('a monitor of a mailbox that is closed already tells at once', async t => {
    const [client, other] = await Promise.all([t.start(), t.start()]);
    await other.close();
    equal(await (await client.monitor(other.address)).down, { reason: 'closed' });
    equal(await (await client.link(other.address)).exited, { reason: 'closed' });
  });

  test('a monitor tells that a mailbox slept too long', async t => {
    const server = await t.serve('--asleep', '50ms');
    const [client, other] = await Promise.all([t.start({}, server), t.start({}, server)]);
    const { down } = await client.monitor(other.address);
    await other.close({ keep: true });
    equal(await down, { reason: 'expired' });
  });

  test('a monitor tells states, and that a mailbox has had no reader for too long', async t => {
    const [client, other] = await Promise.all([t.start(), t.start()]);
    const states: string[] = [];
    const { down } = await client.monitor(other.address, {
      grace: 2,
      onState: state => states.push(state),
    });
    await other.close({ keep: true });
    equal(await down, { reason: 'disconnected' });
    equal(states, ['connected', 'asleep']);
    await client.send(other.address, 'it lives on');
  });

  test('a monitor whose callback throws goes on, and the fault is told', async t => {
    const errors: unknown[] = [];
    const client = await t.start({ onError: error => errors.push(error) });
    const other = await t.start();
    const fault = new Error('of the program');
    const { down } = await client.monitor(other.address, {
      grace: 2,
      onState() {
        throw fault;
      },
    });
    await other.close({ keep: true });
    equal(await down, { reason: 'disconnected' });
    equal(errors, [fault, fault]);
  });

  test('a monitor tells while a handler is busy, and across a cut stream', async t => {
    const proxy = await t.proxy('tcp');
    const [client, other] = await Promise.all([t.start({}, proxy.url), t.start()]);
    const { down } = await client.monitor(other.address);
    const told = new Promise(resolve => {
      client.mailbox.handle(async () => resolve(await down));
    });
    await other.send(client.address, 'wait for it');
    await proxy.set({ mode: 'refuse' });
    await reaches(client, 'reconnecting');
    await other.close();
    await proxy.set({ mode: 'pass' });
    equal(await told, { reason: 'closed' });
  });

  test('a monitor that was taken back tells nothing', async t => {
    const [client, other] = await Promise.all([t.start(), t.start()]);
    const [first, second] = [
      await client.monitor(other.address),
      await client.monitor(other.address),
    ];
    await first.stop();
    await other.close();
    equal(await Promise.race([first.down.then(() => 'first'), second.down]), { reason: 'closed' });
    // It is over: nothing is taken back.
    await second.stop();
    await client.send(client.address, 'nothing else');
    equal(await client.mailbox.receive(), 'nothing else');
  });

  test('a monitor rejects when its own mailbox ends', async t => {
    const [client, other] = await Promise.all([t.start(), t.start()]);
    const { down } = await client.monitor(other.address);
    await client.close();
    await rejects(down, 'closed');
    await rejects(client.monitor(other.address), 'closed');
  });

  test('monitors and links need their rights', async t => {
    const [client, other] = await Promise.all([t.start(), t.start()]);
    const sendOnly = await attenuate(other.address, { rights: ['send'] });
    await rejects(client.monitor(sendOnly), 'missing-right');
    await rejects(client.link(sendOnly), 'missing-right');
    await rejects(client.monitor(other.key as never), 'malformed-address');
  });

  test('a link tells either end that the other one ended', async t => {
    const [one, two, three] = await Promise.all([t.start(), t.start(), t.start()]);
    const link = await one.link(two.address);
    const other = await three.link(one.address);
    await two.close();
    equal(await link.exited, { reason: 'closed' });
    await three.close();
    const { kind, ref, body } = await one.mailbox.receiveEnvelope();
    equal([kind, ref?.length, body], ['exited', 22, { reason: 'closed' }]);
    await rejects(other.exited, 'closed');
  });

  test('a link is taken back at both ends', async t => {
    const [one, two, three] = await Promise.all([t.start(), t.start(), t.start()]);
    const link = await one.link(two.address);
    await link.unlink();
    await one.close();
    // Those who are told of an end are told one after the other.
    await three.link(two.address);
    await three.close();
    equal((await two.mailbox.receiveEnvelope()).kind, 'exited');
    await two.send(two.address, 'nothing else');
    equal(await two.mailbox.receive(), 'nothing else');
  });

  test('an exit ends a mailbox, for who has the right', async t => {
    const [client, other] = await Promise.all([t.start(), t.start()]);
    const { down } = await client.monitor(other.address);
    const { exited } = await client.link(other.address);
    equal((await rejects(client.exit(other.address, 'mine now'), 'missing-right')).status, 403);
    const mayEnd = await attenuate(other.key, { rights: ['exit'] });
    await rejects(client.send(mayEnd as Address, 1), 'missing-right');
    await client.exit(mayEnd as Address, { why: 'enough' });
    equal(await down, { reason: 'exit', detail: { why: 'enough' } });
    equal(await exited, { reason: 'exit', detail: { why: 'enough' } });
    equal((await other.mailbox.closed).reason, 'closed');
    await rejects(client.exit(mayEnd as Address), 'closed');
  });

  test('a process is found by its name and called', async t => {
    const server = await t.office();
    const client = await t.start({}, server);
    const till = await client.whereis('shop/till');
    ok(till, 'shop/till is exported');
    equal(await client.call(till, { sum: 7 }), { sum: 7 });
    const { down } = await client.monitor(till);
    equal((await rejects(client.call(till, 'panic'), 'call-failed')).status, 502);
    equal((await down).reason, 'crashed');
    // It goes on with the next message.
    const { exited } = await client.link(till);
    equal(await client.call(till, 'end'), 'end');
    equal(await exited, { reason: 'normal' });
    equal((await rejects(client.call(till, 1), 'gone')).status, 410);
    equal(await (await client.monitor(till)).down, { reason: 'gone' });
  });

  test('a name that is not exported has no address', async t => {
    const client = await t.start();
    for (const name of ['lobby', 'shop/till', 'a?b#c', 'ä', '', '%2e%2e', '...'])
      equal(await client.whereis(name), undefined);
  });

  test('a name that no path of a URL has is not exported', async t => {
    const server = await t.office();
    const client = await t.start({}, server);
    const dots = ['.', '..', '../mailbox', 'shop/./till', 'x/../shop/till', 'shop/..'];
    for (const name of [...dots, 'shop/till\n', 'a\ud800'])
      equal(await client.whereis(name), undefined);
  });
}
