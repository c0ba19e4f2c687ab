// Drives the pages in Chromium, against the real program: two windows, curl, genbrowser send and a Go program.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { AxeResults } from 'axe-core';
import jsQR from 'jsqr';
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Page,
} from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { binary, type Program, run } from '../../js-client/test/harness/program.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8');
const exec = promisify(execFile);
const LATENCY = /^\d+\.\d ms$/;
const patience = { timeout: 20_000 };

let program: Program;
let browser: Browser;
let context: BrowserContext;
let complaints: string[];

beforeAll(async () => {
  program = await run([], undefined, 'playground');
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
      ...['--disable-background-networking', '--disable-component-update'],
    ],
  });
});

afterAll(async () => {
  await browser?.close();
  await program?.stop();
});

beforeEach(() => enter());

// What breaks the content security policy is an error on the console as well.
afterEach(async () => {
  await context.close();
  expect(complaints).toEqual([]);
});

/** A fresh browser, as far as the pages can tell. What its pages complain about fails the test. */
async function enter(options: BrowserContextOptions = {}) {
  await context?.close();
  context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  complaints = [];
  context.on('weberror', error => complaints.push(String(error.error())));
  context.on('console', message => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
}

async function openPinger(): Promise<Page> {
  const page = await context.newPage();
  await page.goto(program.url);
  await page.locator('#ping:enabled').waitFor();
  return page;
}

/** Follows the pinger's link into a second window. */
async function openPonger(pinger: Page, follow = () => pinger.click('#ponger')): Promise<Page> {
  const [page] = await Promise.all([context.waitForEvent('page'), follow()]);
  await page.locator('#ping:enabled').waitFor();
  await see(pinger, '[data-kind=hello] .text', /^ponger …\S{6} has joined$/);
  // A window behind another one is painted seldom, and clicks wait for that.
  await pinger.bringToFront();
  return page;
}

/** Waits until the first element that fits has this text. */
async function see(page: Page, selector: string, text: string | RegExp) {
  await expect
    .poll(async () => (await page.locator(selector).allTextContents())[0], patience)
    .toEqual(typeof text == 'string' ? text : expect.stringMatching(text));
}

const text = async (page: Page, id: string) => (await page.textContent(`#${id}`)) ?? '';

/** Two windows, with everything in their logs that can be there. */
async function converse(pings = 1): Promise<[pinger: Page, ponger: Page]> {
  const pinger = await openPinger();
  let count = 0;
  const press = async (times: number) => {
    while (times--) {
      await pinger.click('#ping');
      await see(pinger, '#count', String(++count));
    }
  };
  await press(pings);
  const ponger = await openPonger(pinger);
  await press(pings);
  await exec('sh', ['-c', await text(pinger, 'curl')]);
  await see(pinger, '[data-kind=message] .text', '{"hello":"from curl"}');
  await press(2);
  await ponger.bringToFront();
  await ponger.click('#ping');
  await see(ponger, '[data-kind=ping] .note', LATENCY);
  await see(pinger, '[data-kind=pong] .note', /^sent in/);
  await pinger.bringToFront();
  await press(1);
  return [pinger, ponger];
}

describe('The playground', () => {
  it('gives a first visitor who is alone a pong', async () => {
    const page = await openPinger();
    await see(page, '#status', 'Open, streaming');
    await page.click('#ping');
    await see(page, '[data-kind=ping] .text', 'to built-in logger');
    await see(page, '[data-kind=ping] .note', LATENCY);
    expect(await page.locator('[data-kind=pong]').count()).toBe(0);
    await see(page, '#count', '1');
    for (const figure of ['last', 'median', 'p99'])
      expect(await text(page, figure)).toMatch(LATENCY);
    expect(await page.locator('#graph rect').count()).toBe(1);
    await see(page, '#announcer', /^Pong after \d+\.\d ms$/);
    await page.click('#clear');
    expect(await page.locator('#log li').count()).toBe(0);
  });

  it('lets two windows ping each other', async () => {
    const pinger = await openPinger();
    const ponger = await openPonger(pinger);
    expect(await ponger.evaluate(() => sessionStorage.getItem('pinger'))).toBeNull();
    const name = `ponger …${(await text(ponger, 'address')).slice(-6)}`;
    expect(await pinger.textContent('#targets label:has(:checked)')).toBe(name);

    await pinger.click('#ping');
    await see(pinger, '[data-kind=ping] .text', `to ${name}`);
    await see(pinger, '[data-kind=ping] .note', LATENCY);
    await see(ponger, '#answered', '1');
    await see(ponger, '[data-kind=pong] .note', /^sent in \d+\.\d ms$/);

    await ponger.click('#ping');
    await see(ponger, '[data-kind=ping] .note', LATENCY);
    await see(pinger, '[data-kind=pong] .note', /^sent in \d+\.\d ms$/);

    await pinger.check('#auto');
    await see(ponger, '#answered', /^[4-9]$/);
    await pinger.uncheck('#auto');
  });

  it('tells when the ponger has left, and pings the logger again', async () => {
    const pinger = await openPinger();
    const ponger = await openPonger(pinger);
    await ponger.goto('about:blank');
    await see(pinger, '[data-kind=hello] .text', /^ponger …\S{6} has left$/);
    await pinger.click('#ping');
    await see(pinger, '[data-kind=ping] .text', 'to built-in logger');
    await see(pinger, '[data-kind=ping] .note', LATENCY);
  });

  it('keeps the last eight pongers', async () => {
    const pinger = await openPinger();
    const to = `${program.url}/_gb/send/${await text(pinger, 'address')}`;
    for (let n = 0; n < 9; n++) {
      const body = JSON.stringify({ type: 'hello', from: `gba_${'A'.repeat(50)}${n}` });
      await fetch(to, { method: 'POST', body });
    }
    await see(pinger, '[data-kind=hello] .text', 'ponger …AAAAA8 has joined');
    const names = await pinger.locator('#targets label').allTextContents();
    expect(names.slice(0, 2)).toEqual(['built-in logger', 'ponger …AAAAA1']);
    expect(names.length).toBe(9);
  });

  it('keeps the address and the ponger through a reload', async () => {
    const pinger = await openPinger();
    const ponger = await openPonger(pinger);
    const address = await text(pinger, 'address');
    await pinger.reload();
    await pinger.locator('#ping:enabled').waitFor();
    expect(await text(pinger, 'address')).toBe(address);
    await pinger.locator('#targets label:nth-child(2)').click();
    await pinger.click('#ping');
    await see(pinger, '[data-kind=ping] .note', LATENCY);
    await see(ponger, '#answered', '1');
  });

  it('has a mailbox for each page, in the same tab', async () => {
    const page = await openPinger();
    const address = await text(page, 'address');
    await page.goto(`${program.url}/ponger.html`);
    await see(page, '#address', /^gba_/);
    expect(await text(page, 'address')).not.toBe(address);
    await page.click('.brand');
    await see(page, '#address', address);
  });

  it.each([
    ['curl', '{"hello":"from curl"}'],
    ['genbrowser', '{"hello":"from a terminal"}'],
    ['go', '"hello from Go"'],
  ])('shows what its %s command sends', async (id, message) => {
    const page = await openPinger();
    const command = await text(page, id);
    if (id == 'go') {
      const main = join(mkdtempSync(join(tmpdir(), 'playground-')), 'main.go');
      writeFileSync(main, command);
      await exec('go', ['run', main], { cwd: root });
    } else {
      await exec('sh', ['-c', command.replace(/^genbrowser/, `'${binary()}'`)]);
    }
    await see(page, '[data-kind=message] .text', message);
  });

  it('shows strangers’ messages as text', async () => {
    const page = await openPinger();
    const address = await text(page, 'address');
    const bodies = ['"<img src=x onerror=alert(1)>"', 'null', '{"type":"pong","id":"?"}', '0'];
    for (const body of bodies) {
      const url = `${program.url}/_gb/send/${address}`;
      expect((await fetch(url, { method: 'POST', body })).status).toBe(202);
      await see(page, '[data-kind=message] .text', body);
    }
    expect(await page.locator('#log img').count()).toBe(0);
  });

  it('copies', async () => {
    await enter({ permissions: ['clipboard-read', 'clipboard-write'] });
    const page = await openPinger();
    await page.click('summary');
    for (const id of ['address', 'link', 'curl', 'genbrowser', 'go']) {
      await page.click(`[data-copy=${id}]`);
      await see(page, `[data-copy=${id}]`, 'Copied');
      expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(await text(page, id));
    }
    await see(page, '[data-copy=address]', 'Copy');
  });

  it('copies without https', async () => {
    await enter({ permissions: ['clipboard-read', 'clipboard-write'] });
    const reader = await openPinger();
    await context.addInitScript(() =>
      Object.defineProperty(navigator, 'clipboard', { value: undefined }),
    );
    const page = await openPinger();
    await page.click('[data-copy=curl]');
    await see(page, '[data-copy=curl]', 'Copied');
    expect(await page.evaluate(() => document.activeElement?.getAttribute('data-copy'))).toBe(
      'curl',
    );
    await reader.bringToFront();
    expect(await reader.evaluate(() => navigator.clipboard.readText())).toBe(
      await text(page, 'curl'),
    );
  });

  it('shows the ponger’s link as a QR code', async () => {
    const page = await openPinger();
    const link = await page.getAttribute('#ponger', 'href');
    expect(link).toBe(`${program.url}/ponger.html#${await text(page, 'address')}`);
    const picture = `data:image/png;base64,${(await page.locator('#qr').screenshot()).toString('base64')}`;
    const { data, width, height } = await page.evaluate(async source => {
      const image = new Image();
      image.src = source;
      await image.decode();
      const canvas = new OffscreenCanvas(image.width, image.height);
      const pen = canvas.getContext('2d') as OffscreenCanvasRenderingContext2D;
      pen.drawImage(image, 0, 0);
      const { data, width, height } = pen.getImageData(0, 0, image.width, image.height);
      return { data: [...data], width, height };
    }, picture);
    expect(jsQR.default(new Uint8ClampedArray(data), width, height)?.data).toBe(link);
  });

  it('asks for the address that a link lacks', async () => {
    const pinger = await openPinger();
    const page = await context.newPage();
    await page.goto(`${program.url}/ponger.html`);
    const give = async (text: string) => {
      await page.fill('[name=address]', text);
      await page.press('[name=address]', 'Enter');
    };
    await give('gba_');
    await see(page, '#join-error', /^This is not an address/);
    expect(await page.getAttribute('[name=address]', 'aria-invalid')).toBe('true');
    await give(
      JSON.parse((await pinger.evaluate(() => sessionStorage.getItem('pinger'))) ?? '').key,
    );
    await see(page, '#join-error', /^This is a mailbox key/);
    await give(await text(pinger, 'link'));
    await see(page, '[data-kind=hello] .note', 'sent');
    await see(pinger, '[data-kind=hello] .text', /has joined$/);

    await page.goto(`${program.url}/ponger.html#gba_cut`);
    await see(page, '#join-error', /^The link holds no address/);
  });

  it('tells that a pinger cannot be reached', async () => {
    const page = await context.newPage();
    await page.goto(`${program.url}/ponger.html#gba_${'A'.repeat(51)}`);
    await see(page, '#notice p', /^The pinger cannot be reached: /);
    await see(page, '#notice button', 'Say hello again');
  });

  it('stops where another tab reads the mailbox, and opens a new one', async () => {
    const first = await openPinger();
    const saved = await first.evaluate(() => sessionStorage.getItem('pinger'));
    const address = await text(first, 'address');
    const second = await context.newPage();
    await second.addInitScript(saved => sessionStorage.setItem('pinger', saved ?? ''), saved);
    await second.goto(program.url);
    await see(second, '#address', address);
    await see(first, '#status', 'Closed');
    await see(first, '#notice p', /^Another tab/);
    await first.click('#notice button');
    await see(first, '#status', 'Open, streaming');
    await expect.poll(() => text(first, 'address'), patience).toMatch(/^gba_/);
    expect(await text(first, 'address')).not.toBe(address);
  });

  it('shows that the server is away, and that it forgot the mailbox', async () => {
    const own = await run([], undefined, 'playground');
    const page = await context.newPage();
    await page.goto(own.url);
    await see(page, '#status', 'Open, streaming');
    await own.stop();
    await see(page, '#status', 'Reconnecting…');
    const again = await run([], own.url.replace('http:', 'tcp4:'), 'playground');
    await see(page, '#notice p', /^This mailbox is gone/);
    await page.click('#notice button');
    await see(page, '#status', 'Open, streaming');
    await page.close();
    await again.stop();
    complaints = complaints.filter(text => !text.startsWith('Failed to load resource'));
  });
});

describe('For everybody', () => {
  it('works with the keyboard alone, and shows where it is', async () => {
    const pinger = await openPinger();
    const focus = () =>
      pinger.evaluate(() => {
        const { activeElement: active } = document;
        const shown = active?.matches('[type=radio]') ? active.parentElement : active;
        const { outlineStyle } = getComputedStyle(shown ?? document.body);
        return { id: active?.id || active?.getAttribute('data-copy'), outlineStyle };
      });
    const stops: unknown[] = [];
    const tabTo = async (id: string) => {
      for (let stop = await focus(); stop.id != id; stop = await focus()) {
        await pinger.keyboard.press('Tab');
        const now = await focus();
        expect(now.outlineStyle).not.toBe('none');
        expect(stops.push(now.id), `no way to ${id}: ${stops}`).toBeLessThan(40);
      }
    };
    await tabTo('address');
    await tabTo('auto');
    await pinger.keyboard.press('Space');
    await see(pinger, '#count', '1');
    await pinger.keyboard.press('Space');
    expect(await pinger.isChecked('#auto')).toBe(false);

    await tabTo('ponger');
    await openPonger(pinger, () => pinger.keyboard.press('Enter'));
    await pinger.bringToFront();
    await pinger.evaluate(() => (document.activeElement as HTMLElement).blur());
    await pinger.keyboard.press('Escape');
    await pinger.focus('#auto');
    await pinger.keyboard.press('Tab');
    expect(await pinger.textContent('label:has(:checked:focus)')).toMatch(/^ponger/);
    await pinger.keyboard.press('ArrowUp');
    expect(await pinger.textContent('label:has(:checked:focus)')).toBe('built-in logger');
    await pinger.keyboard.press('ArrowDown');
    await tabTo('ping');
    await pinger.keyboard.press('Enter');
    await see(pinger, '[data-kind=ping] .text', /^to ponger/);
    await see(pinger, '[data-kind=ping] .note', LATENCY);
  });

  it('announces what matters, and no automatic ping', async () => {
    const page = await openPinger();
    await page.check('#auto');
    await see(page, '#count', /^[2-9]$/);
    expect(await text(page, 'announcer')).toBe('');
    expect(await page.getAttribute('[role=log]', 'aria-live')).toBe('off');
    await openPonger(page);
    await see(page, '#announcer', 'A ponger has joined');
  });

  it.each([360, 768, 1280])('fits a window %d pixels wide', async width => {
    await enter({ viewport: { width, height: 740 } });
    const pages = await converse();
    await fetch(`${program.url}/_gb/send/${await text(pages[0], 'address')}`, {
      method: 'POST',
      body: JSON.stringify('w'.repeat(300)),
    });
    await see(pages[0], '[data-kind=message] .text', /ww/);
    await pages[0].click('summary');
    for (const page of pages)
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
  });

  it.each(['light', 'dark'] as const)('has nothing that axe finds, %s', async colorScheme => {
    await enter({ colorScheme, reducedMotion: 'reduce' });
    const [pinger, ponger] = await converse();
    await pinger.click('summary');
    await expectAccessible(pinger);
    await expectAccessible(ponger);

    await ponger.goto(`${program.url}/ponger.html`);
    await ponger.click('#join button');
    await see(ponger, '#join-error', /^This is not an address/);
    await expectAccessible(ponger);

    await pinger.evaluate(() => {
      const [row] = document.querySelectorAll<HTMLElement>('#log li');
      Object.assign((row as HTMLElement).dataset, { kind: 'problem', state: 'failed' });
    });
    await pinger.evaluate(
      "import('./page.js').then(page => page.showNotice('A notice', 'An action'))",
    );
    await expectAccessible(pinger);
  });
});

async function expectAccessible(page: Page) {
  await page.bringToFront();
  await page.evaluate(axe);
  const { violations, incomplete } = (await page.evaluate('axe.run()')) as AxeResults;
  const short = (results: typeof violations) =>
    results.map(({ id, nodes }) => ({ id, nodes: nodes.map(node => node.html) }));
  expect(short(violations)).toEqual([]);
  // Of a row that is half scrolled away, nobody can tell the contrast.
  expect(short(incomplete.filter(({ id }) => id != 'color-contrast'))).toEqual([]);
}

it('looks like this', async () => {
  await enter({ deviceScaleFactor: 1.25 });
  const [pinger] = await converse(16);
  await pinger.evaluate(() => {
    (document.activeElement as HTMLElement).blur();
    return Promise.all(document.getAnimations().map(animation => animation.finished));
  });
  await pinger.mouse.move(0, 0);
  const picture = await pinger.screenshot({ fullPage: true });
  expect(picture.length).toBeLessThan(300_000);
  const folder =
    process.env.UPDATE_SCREENSHOT == '1'
      ? join(root, 'docs')
      : mkdtempSync(join(tmpdir(), 'playground-'));
  writeFileSync(join(folder, 'playground.png'), picture);
});
