import { type Address, attenuate, type Client, type Envelope, GenBrowserError } from 'gen-browser';
import { equal, ok, rejects, throws, until } from './assert.js';
import { type Register, reaches } from './context.js';

export function callCases(test: Register): void {
  test('a call resolves with what its callee returns', async t => {
    const [caller, callee] = await Promise.all([t.start(), t.start()]);
    callee.serve(body => body);
    for (const value of [null, 0, false, '', { a: ['ö', null] }, [callee.address]])
      equal(await caller.call(callee.address, value), value);
    equal(await caller.call<Address>(callee.address, caller.address), caller.address);
  });

  test('a handler that returns nothing answers null', async t => {
    const client = await t.start();
    client.serve(() => {});
    // By itself, besides.
    equal(await client.call(client.address, 1), null);
  });

  test('a call that is received is answered by hand', async t => {
    const [caller, callee] = await Promise.all([t.start(), t.start()]);
    const calling = caller.call(callee.address, 'what?');
    const call = await callee.mailbox.receiveEnvelope();
    equal([call.kind, call.body, call.ref?.length], ['call', 'what?', 22]);
    await callee.reply(call, { that: true });
    equal(await calling, { that: true });
    // The address takes one answer, and nobody else takes any.
    await rejects(callee.reply(call, 'and another one'), 'replied');
    await rejects(callee.fail(call, 'or not'), 'replied');
    await rejects(callee.reply({ ...call, reply: caller.address }), 'not-a-reply-address');
    await rejects(callee.send(call.reply as Address, 1), 'not-a-reply-address');

    const failing = rejects(caller.call(callee.address, 1), 'refused');
    const other = await callee.mailbox.receiveEnvelope();
    await callee.fail(other, new GenBrowserError('refused', 'not a question'));
    const { status, detail } = await failing;
    equal([status, detail], [422, 'not a question']);
    await callee.send(caller.address, 'nothing else');
    equal(await caller.mailbox.receive(), 'nothing else');
  });

  test('what is no call is not answered', async t => {
    const client = await t.start();
    await client.send(client.address, 'a message');
    const message = await client.mailbox.receiveEnvelope();
    for (const call of [message, {}, null, undefined, 7]) {
      await rejects(client.reply(call as Envelope, 1), 'not-a-reply-address');
      await rejects(client.fail(call as Envelope, 1), 'not-a-reply-address');
    }
  });

  test('what a callee throws fails the call', async t => {
    const client = await t.start();
    client.serve(async ({ why }: { why: string }) => {
      throw why == 'refused' ? new GenBrowserError('refused', why) : new TypeError(why);
    });
    const failed = await rejects(client.call(client.address, { why: 'no luck' }), 'call-failed');
    equal([failed.status, failed.detail], [502, 'no luck']);
    equal((await rejects(client.call(client.address, { why: 'refused' }), 'refused')).status, 422);
    // It fails before it gets to the handler's first line.
    equal((await rejects(client.call(client.address, null), 'call-failed')).status, 502);
    await rejects(client.call(client.address, 1n), 'unserializable');
    await rejects(client.call('gba_x' as Address, 1), 'malformed-address');
    await rejects(client.call(client.key as never, 1), 'malformed-address');
  });

  test('a reply that is too long fails the call', async t => {
    const client = await t.start();
    client.serve(() => 'x'.repeat(64 * 1024));
    const { detail } = await rejects(client.call(client.address, 1), 'call-failed');
    ok(/65,?536|64 KiB|bytes/i.test(detail), `${detail} tells the size`);
  });

  test('a handler may wait for a call, while the mailbox waits for it', async t => {
    const [asking, answering] = await Promise.all([t.start(), t.start()]);
    // To answer, the one asks the other back.
    answering.serve(async (body, { reply }) => {
      ok(reply, 'a call has a reply address');
      return [body, await answering.call(asking.address, 'who are you?')];
    });
    asking.serve(question => `${question} a page`);
    const got: unknown[] = [];
    asking.mailbox.handle(async message =>
      got.push(message, await asking.call(answering.address, message)),
    );
    for (const message of [1, 2]) await answering.send(asking.address, message);
    await until(() => got.length == 4);
    const who = 'who are you? a page';
    equal(got, [1, [1, who], 2, [2, who]]);
  });

  test('calls that came before they were served are served, the others are received', async t => {
    const { client, arrived } = await t.startWatched();
    const caller = await t.start();
    const early = caller.call(client.address, 'early');
    await arrived(1);
    await caller.send(client.address, 'message');
    await arrived(2);
    const stop = client.serve(body => `served ${body}`);
    await throws(() => client.serve(() => {}), 'busy');
    equal(await early, 'served early');
    equal(await client.mailbox.receive(), 'message');
    stop();
    const late = caller.call(client.address, 'late');
    const call = await client.mailbox.receiveEnvelope();
    await client.reply(call, 'by hand');
    equal(await late, 'by hand');
  });

  test('calls are served side by side', async t => {
    const [caller, callee] = await Promise.all([t.start(), t.start()]);
    const open: (() => void)[] = [];
    callee.serve(async n => {
      await new Promise<void>(resolve => open.push(resolve));
      return n;
    });
    const calls = [1, 2, 3].map(n => caller.call(callee.address, n));
    await until(() => open.length == 3);
    for (const resolve of open.reverse()) resolve();
    equal(await Promise.all(calls), [1, 2, 3]);
  });

  test('a call of a closed mailbox rejects', async t => {
    const [caller, callee] = await Promise.all([t.start(), t.start()]);
    await callee.close();
    equal((await rejects(caller.call(callee.address, 1), 'closed')).status, 410);
  });

  test('a call rejects when its callee closes instead of answering', async t => {
    const [caller, callee] = await Promise.all([t.start(), t.start()]);
    const failing = rejects(caller.call(callee.address, 1, { timeout: 60_000 }), 'closed');
    equal(await callee.mailbox.receive(), 1);
    await callee.close();
    equal((await failing).status, 410);
  });

  test('a call rejects when its callee sleeps too long', async t => {
    const server = await t.serve('--asleep', '50ms');
    const [caller, callee] = await Promise.all([t.start({}, server), t.start({}, server)]);
    const failing = rejects(caller.call(callee.address, 1, { timeout: 60_000 }), 'expired');
    equal(await callee.mailbox.receive(), 1);
    await callee.close({ keep: true });
    equal((await failing).status, 410);
  });

  test('a call that nobody answers times out, and what comes late is dropped', async t => {
    const [caller, callee] = await Promise.all([t.start(), t.start()]);
    await rejects(caller.call(callee.address, 1, { timeout: 0 }), 'call-timeout');
    await rejects(caller.call(callee.address, 2, { timeout: 500 }), 'call-timeout');
    const call = await callee.mailbox.receiveEnvelope();
    // The one that had no time at all was not sent.
    equal(call.body, 2);
    // For a second or two the reply address is good still.
    await callee.reply(call, 'too late');
    await callee.send(caller.address, 'next');
    equal(await caller.mailbox.receive(), 'next');
    await until(async () => {
      const { code } = await callee.reply(call).catch(error => error);
      ok(/^(replied|capability-expired)$/.test(code), `${code} refuses a late reply`);
      return code == 'capability-expired';
    });
  });

  test('a call is given up by its signal, and by the end of the caller', async t => {
    const [caller, callee] = await Promise.all([t.start(), t.start()]);
    const stop = new AbortController();
    const { signal } = stop;
    const calling = caller.call(callee.address, 1, { signal }).catch(reason => reason);
    equal(await callee.mailbox.receive(), 1);
    stop.abort('enough');
    equal(await calling, 'enough');
    equal(await caller.call(callee.address, 2, { signal }).catch(reason => reason), 'enough');
    const failing = rejects(caller.call(callee.address, 3), 'closed');
    equal(await callee.mailbox.receive(), 3);
    await caller.close();
    await failing;
    await rejects(caller.call(callee.address, 4), 'closed');
  });

  test('a call ends when another tab takes the mailbox over', async t => {
    const [caller, callee] = await Promise.all([t.start(), t.start()]);
    const failing = rejects(caller.call(callee.address, 1), 'taken-over');
    const call = await callee.mailbox.receiveEnvelope();
    const next = await t.start({ key: caller.key });
    await failing;
    // Nothing can come back to this one any more.
    await rejects(caller.call(callee.address, 2), 'taken-over');
    await rejects(caller.monitor(callee.address), 'taken-over');
    // The other tab never asked.
    await callee.reply(call, 'for the first');
    await callee.send(next.address, 'for both');
    equal(await next.mailbox.receive(), 'for both');
  });

  test('a call survives a cut stream', async t => {
    const proxy = await t.proxy('tcp');
    const [caller, callee] = await Promise.all([t.start({}, proxy.url), t.start()]);
    const calling = caller.call(callee.address, 1, { timeout: 60_000 });
    const call = await callee.mailbox.receiveEnvelope();
    await proxy.set({ mode: 'refuse' });
    await reaches(caller, 'reconnecting');
    await callee.reply(call, 'meanwhile');
    await proxy.set({ mode: 'pass' });
    equal(await calling, 'meanwhile');
  });

  test('a call that the network swallows is repeated, and handled once', async t => {
    const proxy = await t.proxy('tcp');
    const [caller, callee] = await Promise.all([t.start({}, proxy.url), t.start()]);
    let handled = 0;
    callee.serve(() => ++handled);
    await proxy.set({ mode: 'refuse' });
    const before = Number((await proxy.count()).connections);
    const calling = caller.call(callee.address, 1, { timeout: 60_000 });
    await until(async () => Number((await proxy.count()).connections) >= before + 3);
    await proxy.set({ mode: 'pass' });
    equal(await calling, 1);
    equal(handled, 1);
  });

  test('a call tells why nobody could be reached', async t => {
    const proxy = await t.proxy('tcp');
    const caller = await t.start({}, proxy.url);
    await proxy.set({ mode: 'refuse' });
    const failing = caller.call(caller.address, 1, { timeout: 1_000 });
    equal(((await rejects(failing, 'call-timeout')).cause as GenBrowserError).code, 'network');
  });

  test('two hundred calls over connections that are cut are answered, each handled once', async t => {
    const proxy = await t.proxy('tcp', t.server, { mode: 'chop', most: 12_000 });
    const [caller, callee] = await Promise.all([
      t.start({ timeout: 60_000 }, proxy.url),
      t.start({ timeout: 60_000 }, proxy.url),
    ]);
    const handled = new Map<number, number>();
    callee.serve<number>(n => {
      handled.set(n, (handled.get(n) ?? 0) + 1);
      return { n, text: 'x'.repeat(200) };
    });
    const count = 200;
    let asked = 0;
    const ask = async () => {
      while (asked < count) {
        const n = asked++;
        const got = await caller.call<{ n: number }>(callee.address, n, { timeout: 100_000 });
        equal(got.n, n);
      }
    };
    await Promise.all(Array.from({ length: 8 }, ask));
    ok(Number((await proxy.count()).cuts) > 10, `${(await proxy.count()).cuts} cuts`);
    equal([handled.size, Math.max(...handled.values())], [count, 1]);
  });

  test('calls work by long-poll', async t => {
    const [caller, callee] = await Promise.all([
      t.start({ transport: 'long-poll' }),
      t.start({ transport: 'long-poll' }),
    ]);
    callee.serve(n => Number(n) + 1);
    equal(await caller.call(callee.address, 1), 2);
  });

  test('a call obeys the restrictions of an address', async t => {
    const client = await t.start();
    client.serve(body => body);
    const call = async (restriction: object) =>
      client.call(await attenuate(client.address, restriction), 'hello');
    equal(await call({ rights: ['call'] }), 'hello');
    equal((await rejects(call({ rights: ['send'] }), 'missing-right')).status, 403);
    await rejects(call({ maxBytes: 3 }), 'too-large');
  });

  test('messages before a reply come again to who resumes', async t => {
    const { client, arrived } = await t.startWatched();
    const callee = await t.start();
    callee.serve(body => body);
    await callee.send(client.address, 'before');
    await arrived(1);
    equal(await client.call(callee.address, 'reply'), 'reply');
    await callee.send(client.address, 'behind');
    await arrived(3);
    const { key, cursor } = client;
    await client.close({ keep: true });
    const next = await t.start({ key, cursor });
    equal(await next.mailbox.receive(), 'before');
    // The reply came again as well, and nobody waits for it.
    equal(await next.mailbox.receive(), 'behind');
  });

  test('replies make room in the mailbox', async t => {
    const server = await t.serve('--backlog', '32'); // of which the last 24 are room for replies while an acknowledgement is under way
    const [caller, callee] = await Promise.all([t.start({}, server), t.start({}, server)]);
    callee.serve(body => body);
    for (let n = 0; n < 100; n++) equal(await caller.call(callee.address, n), n);
  });

  test('a call that was not answered yet comes again to who resumes', async t => {
    const [caller, callee] = await Promise.all([t.start(), t.start()]);
    const served: Envelope[] = [];
    callee.serve((_, call) => {
      served.push(call);
      return new Promise(() => {});
    });
    const calling = caller.call(callee.address, 'patience', { timeout: 60_000 });
    await until(() => served.length);
    const { key, cursor } = callee;
    await callee.close({ keep: true });
    const next: Client = await t.start({ key, cursor });
    next.serve(body => `${body} pays`);
    equal(await calling, 'patience pays');
  });
}
