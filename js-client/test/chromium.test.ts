import { type Address, start } from 'gen-browser';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { launch } from './harness/chromium.js';
import { Context } from './suite/context.js';
import { registerTests } from './suite/index.js';

const control = inject('control');
const server = inject('server');

let browser: Browser;
let page: Page;

beforeAll(async () => {
  browser = await launch();
  page = await open();
});

afterAll(() => browser?.close());

/** A page of another origin than the server's, so that everything goes through CORS. */
async function open(script = 'import "/suite.js"'): Promise<Page> {
  const opened = await browser.newPage();
  await opened.goto(`${control}/page.html`);
  await opened.addScriptTag({ type: 'module', content: script });
  await opened.waitForFunction('globalThis.runCase');
  return opened;
}

const inPage = (page: Page, runner: 'runCase' | 'runInWorker', name: string) =>
  page.evaluate(`${runner}(${[name, control, server].map(text => JSON.stringify(text)).join()})`);

describe('Chromium', () => {
  registerTests(name => it(name, () => inPage(page, 'runCase', name)));

  it('a page that is reloaded goes on with its mailbox', async () => {
    const start = (page: Page) =>
      page.evaluate(`(async () => {
        const { start } = await import('/client.js');
        globalThis.client = await start(${JSON.stringify(server)}, { storage: sessionStorage });
        return [client.resumed, client.address];
      })()`) as Promise<[boolean, string]>;
    const run = (page: Page, code: string) => page.evaluate(`(async () => ${code})()`);

    const reloaded = await open();
    const [first, address] = await start(reloaded);
    expect(first).toBe(false);
    for (let n = 0; n < 4; n++) await run(reloaded, `client.send(client.address, ${n})`);
    expect(await run(reloaded, 'client.mailbox.receive()')).toBe(0);
    await reloaded.reload();
    expect(await start(reloaded)).toEqual([true, address]);
    for (let n = 1; n < 4; n++) expect(await run(reloaded, 'client.mailbox.receive()')).toBe(n);
    await run(reloaded, 'client.close()');
    await reloaded.close();
  });

  /** A tab of its own with a client that serves calls, and its address. */
  async function serving(serve: string, url = server): Promise<[Page, Address]> {
    const tab = await open();
    const address = await tab.evaluate(`(async () => {
      const { start } = await import('/client.js');
      globalThis.client = await start(${JSON.stringify(url)});
      client.serve(${serve});
      return client.address;
    })()`);
    return [tab, address as Address];
  }

  it('tabs call each other, and Node calls them', async () => {
    const [adder, sums] = await serving('([a, b]) => a + b');
    const [asker, asks] = await serving(
      `async numbers => 'the sum is ' + await client.call(${JSON.stringify(sums)}, numbers)`,
    );
    const client = await start(server);
    expect(await client.call(sums, [1, 2])).toBe(3);
    expect(await client.call(asks, [3, 4])).toBe('the sum is 7');
    client.serve(name => `hello, ${name}`);
    const hello = `client.call(${JSON.stringify(client.address)}, 'tab')`;
    expect(await adder.evaluate(hello)).toBe('hello, tab');
    await client.close();
    for (const tab of [adder, asker]) await tab.close();
  });

  it('a call and a monitor tell that a tab was closed', async () => {
    const context = new Context(control, server);
    const url = await context.serve('--asleep', '500ms');
    const [tab, address] = await serving('() => new Promise(() => globalThis.called = true)', url);
    const client = await context.start({}, url);
    const { down } = await client.monitor(address);
    const failing = client.call(address, 1, { timeout: 60_000 }).catch(({ code }) => code);
    await tab.waitForFunction('globalThis.called');
    await tab.close();
    expect([await failing, await down]).toEqual(['expired', { reason: 'expired' }]);
    await context.end();
  });

  it('a page that is left takes no messages until it is shown again', async () => {
    const caching = await launch(['--disable-back-forward-cache']);
    const left = await caching.newPage();
    await left.goto(`${control}/page.html`);
    const address = await left.evaluate(`(async () => {
      const { start } = await import('/client.js');
      globalThis.client = await start(${JSON.stringify(server)});
      return client.address;
    })()`);
    const client = await start(server);
    const asleep = new Promise<void>(resolve => {
      client.monitor(address as Address, { onState: state => state == 'asleep' && resolve() });
    });
    await left.goto(`${control}/page.html?another`);
    await asleep;
    for (let n = 0; n < 3; n++) await client.send(address as Address, n);
    await left.goBack({ waitUntil: 'commit' });
    // A page that was loaded anew would have no client.
    for (let n = 0; n < 3; n++) expect(await left.evaluate('client.mailbox.receive()')).toBe(n);
    await client.close();
    await caching.close();
  });

  it('a script defines the global GenBrowser', async () => {
    const plain = await browser.newPage();
    await plain.goto(`${control}/page.html`);
    await plain.addScriptTag({ url: `${control}/client.global.js` });
    const names = await plain.evaluate('Object.keys(GenBrowser).sort().join()');
    expect(names).toBe('GenBrowserError,attenuate,isAddress,start');
    const got = await plain.evaluate(`(async () => {
      const client = await GenBrowser.start(${JSON.stringify(server)});
      await client.send(client.address, 'by the global');
      const message = await client.mailbox.receive();
      await client.close();
      return message;
    })()`);
    expect(got).toBe('by the global');
    await plain.close();
  });

  it('a page of the server’s own origin needs no URL', async () => {
    const own = await browser.newPage();
    await own.goto(`${server}/_gb/client.js`);
    const got = await own.evaluate(`(async () => {
      const { start } = await import('/_gb/client.js');
      const client = await start();
      await client.send(client.address, 'from home');
      const message = await client.mailbox.receive();
      await client.close();
      return message;
    })()`);
    expect(got).toBe('from home');
    await own.close();
  });
});

describe('A worker in Chromium', () => {
  registerTests(name => {
    // These say nothing more about a worker, and take long.
    if (/hundred|thousand|holds streams/.test(name)) return;
    it(name, () => inPage(page, 'runInWorker', name));
  });
});
