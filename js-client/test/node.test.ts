import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, inject, it } from 'vitest';
import { runCase } from './suite/context.js';
import { registerTests } from './suite/index.js';

const control = inject('control');
const server = inject('server');

/** What a program says `running()` with: for how many milliseconds it ran, without those that the machine stood still. */
const clock = `
  let ran = 0, last = performance.now();
  function running() {
    const now = performance.now();
    ran += now - last < 110 ? now - last : 10;
    last = now;
    return ran;
  }
  setInterval(running, 10).unref();
`;

describe('Node', () => {
  registerTests((name, run) => it(name, () => runCase(run, control, server)));

  it.each(['close()', 'close({ keep: true })'])(
    'a process ends by itself after %s',
    async close => {
      const program = `
      import { start } from 'gen-browser';
      ${clock}
      const client = await start(${JSON.stringify(server)});
      await client.send(client.address, 1);
      await client.mailbox.receive({ timeout: 60_000 });
      const late = client.mailbox.receive({ timeout: 60_000 }).catch(error => error.code);
      await client.${close};
      const code = await late;
      const ended = running();
      process.on('exit', () => console.log(code, running() - ended < 500));
    `;
      const { exit, said } = await run(program);
      expect([exit, said]).toEqual([0, 'closed true\n']);
    },
  );

  it('a process ends by itself after start gave up', async () => {
    const program = `
      import { start } from 'gen-browser';
      ${clock}
      // The longest pause, a second, has just begun when the time is over.
      Math.random = () => 0.999;
      const { code } = await start('http://127.0.0.1:9', { timeout: 100 }).catch(error => error);
      const ended = running();
      process.on('exit', () => console.log(code, running() - ended < 500));
    `;
    const { exit, said } = await run(program);
    expect([exit, said]).toEqual([0, 'timeout true\n']);
  });

  it('a process ends by itself after a listener closed in a pause that the server asked for', async () => {
    const program = `
      import { start } from 'gen-browser';
      ${clock}
      const cut = new AbortController();
      const client = await start(${JSON.stringify(server)}, {
        async fetch(input, init) {
          if (cut.signal.aborted)
            return new Response(null, { status: 503, headers: { 'retry-after': '5' } });
          return fetch(input, { ...init, signal: AbortSignal.any([init.signal, cut.signal]) });
        },
      });
      let ended;
      client.onStatus(async ({ error }) => {
        if (!error?.retryAfter) return;
        await client.close();
        ended = running();
      });
      cut.abort();
      process.on('exit', () => console.log(running() - ended < 500));
    `;
    const { exit, said } = await run(program);
    expect([exit, said]).toEqual([0, 'true\n']);
  });

  it('start without a URL tells that it needs one', async () => {
    const { start } = await import('gen-browser');
    for (const url of [undefined, '', '/', 'localhost'])
      await expect(start(url, { timeout: 1_000 })).rejects.toMatchObject({
        code: 'malformed-request',
      });
  });
});

/** Runs a module as a process of its own, until that ends by itself. */
async function run(program: string): Promise<{ exit: number; said: string }> {
  const child = execFile(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: import.meta.dirname,
  });
  let said = '';
  const hear = (data: string) => {
    said += data;
  };
  child.stdout?.on('data', hear);
  child.stderr?.on('data', hear);
  const [exit] = await once(child, 'close');
  return { exit, said };
}
