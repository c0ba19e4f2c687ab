// What the README shows first does what it says.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { expect, test } from 'vitest';
import { run } from './harness/program.js';

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

test("the README's page shows its address, and what is sent there", async () => {
  const program = await run([], undefined, 'playground');
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking'],
  });
  try {
    const html = /```html\n(.*?)```/s.exec(README)?.[1];
    const page = await browser.newPage();
    await page.goto(`${program.url}/healthz`);
    await page.setContent((html ?? '').replaceAll('http://127.0.0.1:8080', program.url));
    const address = await page.waitForFunction(
      () => /gba_[\w-]{51}/.exec(document.body.textContent ?? '')?.[0],
    );
    const response = await fetch(`${program.url}/_gb/send/${await address.jsonValue()}`, {
      method: 'POST',
      body: '{"hello":"page"}',
    });
    expect(response.status).toBe(202);
    await page.waitForFunction(() => document.body.textContent?.includes('{"hello":"page"}'));
  } finally {
    await browser.close();
    await program.stop();
  }
});

test('the program of docs/client.md runs', async () => {
  const program = await run([]);
  const source = readFileSync(new URL('../../docs/client.md', import.meta.url), 'utf8');
  const code = /```js\n(.*?)```/s.exec(source)?.[1] ?? '';
  const client = new URL('../dist/client.js', import.meta.url).href;
  const child = spawn(process.execPath, [
    '--input-type=module',
    '--eval',
    code.replace("'gen-browser'", `'${client}'`).replace('http://127.0.0.1:8080', program.url),
  ]);
  try {
    let output = '';
    child.stdout.on('data', piece => {
      output += piece;
    });
    child.stderr.on('data', piece => {
      output += piece;
    });
    await expect.poll(() => output, { timeout: 10_000 }).toContain("message { hello: 'myself' }");
    expect(output).toMatch(/^open\n/);
  } finally {
    child.kill();
    await program.stop();
  }
});
