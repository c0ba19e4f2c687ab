import type { GenBrowserError } from 'gen-browser';
import { problem } from './answers.js';
import { equal, ok, rejects, until } from './assert.js';
import { type Context, type Register, reaches, withoutJitter } from './context.js';

/** Calls and replies whose line had no answer, and what is thrown in them. */
export function lostCases(test: Register): void {
  test('a call whose line had no answer waits for the reply of who closed since', async t => {
    const proxy = await t.proxy('tcp');
    const callee = await t.start();
    const closed = event();
    const { losing, attempts } = lossy(t, '"kind":"call"', closed.happened);
    const caller = await t.start({ fetch: losing }, proxy.url);
    await proxy.set({ mode: 'refuse' });
    await reaches(caller, 'reconnecting');
    const calling = caller.call(callee.address, 1, { timeout: 60_000 });
    await callee.reply(await callee.mailbox.receiveEnvelope(), 'the last word');
    await callee.close();
    closed.happens();
    await until(() => attempts.length == 2);
    equal(attempts, [202, 410]);
    await proxy.set({ mode: 'pass' });
    equal(await calling, 'the last word');
  });

  test('a call that may have reached who closed since times out, and tells that', async t => {
    const [proxy, callee] = await Promise.all([t.proxy('tcp'), t.start()]);
    const { losing, attempts } = lossy(t, '"kind":"call"', callee.mailbox.closed);
    const caller = await t.start({ fetch: losing }, proxy.url);
    await callee.close();
    const error = await rejects(caller.call(callee.address, 1, { timeout: 2_000 }), 'call-timeout');
    equal([(error.cause as GenBrowserError).code, attempts], ['closed', [410, 410]]);
  });

  test('a reply whose line had no answer is done if who called closed since', async t => {
    const caller = await t.start();
    const closed = event();
    const { losing, attempts } = lossy(t, '"kind":"reply"', closed.happened);
    const callee = await t.start({ fetch: losing });
    const calling = caller.call(callee.address, 1);
    const replying = callee.mailbox.receiveEnvelope().then(call => callee.reply(call, 'taken'));
    equal(await calling, 'taken');
    await caller.close();
    closed.happens();
    await replying;
    equal(attempts, [202, 410]);
  });

  test('a reply that found no room did not arrive at who closed since', async t => {
    withoutJitter(t);
    const caller = await t.start();
    const full = [problem(429, 'full')];
    const closed = event();
    const callee = await t.start({
      async fetch(input, init) {
        if (!String(init?.body).includes('"kind":"reply"')) return fetch(input, init);
        await closed.happened;
        return full.shift() ?? fetch(input, init);
      },
    });
    caller.call(callee.address, 1).catch(() => {});
    const call = await callee.mailbox.receiveEnvelope();
    const refused = rejects(callee.reply(call, 'too late'), 'closed');
    await caller.close();
    closed.happens();
    await refused;
    equal(full.length, 0);
  });

  test('what a callee throws fails the call, whatever it is', async t => {
    const [caller, callee] = await Promise.all([t.start(), t.start()]);
    const thrown = [Object.create(null), { toString: 1 }, Symbol('s'), undefined];
    const long = new Error('\0'.repeat(64 * 1024));
    const [before, count] = [callee.cursor, thrown.length + 1];
    const throwing = [...thrown, long];
    callee.serve(() => {
      throw throwing.shift();
    });
    for (let n = 0; n < count; n++) {
      const failing = caller.call(callee.address, n, { timeout: 5_000 });
      ok((await rejects(failing, 'call-failed')).detail, 'there is a detail');
    }
    // It counts as taken.
    await until(() => callee.cursor != before);
  });

  test('a failure that has no text fails the call', async t => {
    const [caller, callee] = await Promise.all([t.start(), t.start()]);
    const failing = rejects(caller.call(callee.address, 1, { timeout: 5_000 }), 'call-failed');
    const { reply: to, ref } = await callee.mailbox.receiveEnvelope();
    const odd = { toString: 1 };
    const body = { type: odd, status: odd, retryAfter: odd, title: odd, detail: odd };
    const line = `${JSON.stringify({ to, ref, kind: 'failure', body })}\n`;
    await fetch(`${t.server}/_gb/send`, { method: 'POST', body: line });
    equal((await failing).detail, 'The call failed');
  });

  test('a call may wait for longer than a date can tell', async t => {
    const client = await t.start();
    client.serve(body => body);
    for (const timeout of [2 ** 31, 999_999_999_999_999, 1e15, 2 ** 53, Infinity])
      equal(await client.call(client.address, 'soon', { timeout }), 'soon');
  });
}

/** Something to wait for. The end of a mailbox is told to its own client before the server knows. */
function event() {
  let happens = () => {};
  const happened = new Promise<void>(resolve => {
    happens = resolve;
  });
  return { happened, happens: () => happens() };
}

/** A fetch that sends to the server itself and loses the first answer to such a line, once that is over; and what was answered. */
function lossy(t: Context, marker: string, over: Promise<unknown>) {
  withoutJitter(t);
  const attempts: number[] = [];
  const losing: typeof fetch = async (input, init) => {
    if (!String(init?.body).includes(marker)) return fetch(input, init);
    const answer = await fetch(`${t.server}/_gb/send`, init);
    const text = await answer.text();
    if (attempts.push(JSON.parse(text).status) > 1) return new Response(text);
    await over;
    throw new TypeError('The answer was lost');
  };
  return { losing, attempts };
}
