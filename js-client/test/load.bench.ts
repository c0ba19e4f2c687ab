// From the beginning of a page's load to its first message, which it sends to itself. Nothing is cached.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { inject } from 'vitest';
import { launch } from './harness/chromium.js';
import { compare } from './harness/compare.js';

const ROUNDS = 40;

const server = inject('server');
const script = await readFile(new URL('../dist/client.global.js', import.meta.url), 'utf8');

const byHand = `<script>
  globalThis.took = new Promise(resolve => {
    const source = new EventSource('${server}/_gb/mailbox');
    source.addEventListener('init', ({ data }) => {
      const { address } = JSON.parse(data);
      fetch('${server}/_gb/send/' + address, { method: 'POST', body: '"hello"' });
    });
    source.onmessage = ({ data }) => resolve([JSON.parse(data), performance.now()]);
  });
</script>`;

const body = `
  globalThis.took = (async () => {
    const client = await start('${server}');
    client.send(client.address, 'hello');
    return [await client.mailbox.receive(), performance.now()];
  })();`;

const pages: { readonly [name: string]: string } = {
  'EventSource, by hand': byHand,
  'ours, in the page': `<script>${script}</script><script>const { start } = GenBrowser; ${body}</script>`,
  'ours, from the server': `<script type="module">import { start } from '${server}/_gb/client.js'; ${body}</script>`,
};

const site = http.createServer((request, response) => {
  const page = Object.values(pages)[Number(request.url?.slice(1))];
  response.writeHead(page ? 200 : 404, { 'content-type': 'text/html' });
  response.end(`<!doctype html><title>First message</title>${page}`);
});
await new Promise<void>(resolve => site.listen(0, '127.0.0.1', resolve));
const { port } = site.address() as AddressInfo;
const browser = await launch();

/** Loads a page as a browser does that never saw it, every answer `latency` milliseconds late. */
async function load(number: number, latency: number): Promise<number> {
  const context = await browser.newContext();
  const page = await context.newPage();
  if (latency) {
    const devtools = await context.newCDPSession(page);
    const unlimited = { downloadThroughput: -1, uploadThroughput: -1 };
    await devtools.send('Network.emulateNetworkConditions', {
      ...unlimited,
      offline: false,
      latency,
    });
  }
  await page.goto(`http://127.0.0.1:${port}/${number}`, { waitUntil: 'domcontentloaded' });
  const [message, took] = (await page.evaluate('took')) as [string, number];
  if (message != 'hello') throw new Error(`The message is ${message}`);
  await context.close();
  return took;
}

const loads = (latency: number) =>
  Object.fromEntries(Object.keys(pages).map((name, n) => [name, () => load(n, latency)]));

compare('the first message', { rounds: ROUNDS, unit: 'ms', variants: loads(0) });

compare('the first message, answers 40 ms late', {
  rounds: ROUNDS,
  unit: 'ms',
  variants: loads(40),
  async end() {
    await browser.close();
    site.close();
    site.closeAllConnections();
  },
});
