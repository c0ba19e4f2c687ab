import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, inject, it } from 'vitest';
import { runCase } from './suite/context.js';
import { registerTests } from './suite/index.js';

const control = inject('control');
const server = inject('server');

describe('Node', () => {
  registerTests((name, run) => it(name, () => runCase(run, control, server)));

  it.each(['close()', 'close({ keep: true })'])(
    'a process ends by itself after %s',
    async close => {
      const program = `
      import { start } from 'gen-browser';
      const client = await start(${JSON.stringify(server)});
      await client.send(client.address, 1);
      await client.mailbox.receive({ timeout: 60_000 });
      const late = client.mailbox.receive({ timeout: 60_000 }).catch(error => error.code);
      await client.${close};
      console.log(await late);
      setTimeout(() => console.log('kept alive'), 1_500).unref();
    `;
      const child = execFile(process.execPath, ['--input-type=module', '--eval', program], {
        cwd: import.meta.dirname,
      });
      let said = '';
      child.stdout?.on('data', data => {
        said += data;
      });
      child.stderr?.on('data', data => {
        said += data;
      });
      const [code] = await once(child, 'exit');
      expect([code, said]).toEqual([0, 'closed\n']);
    },
  );

  it('a process ends by itself after start gave up', async () => {
    const program = `
      import { start } from 'gen-browser';
      await start('http://127.0.0.1:9', { timeout: 100 }).catch(error => console.log(error.code));
      setTimeout(() => console.log('kept alive'), 1_500).unref();
    `;
    const child = execFile(process.execPath, ['--input-type=module', '--eval', program], {
      cwd: import.meta.dirname,
    });
    let said = '';
    child.stdout?.on('data', data => {
      said += data;
    });
    const [code] = await once(child, 'exit');
    expect([code, said]).toEqual([0, 'timeout\n']);
  });

  it('start without a URL tells that it needs one', async () => {
    const { start } = await import('gen-browser');
    await expect(start()).rejects.toMatchObject({ code: 'malformed-request' });
  });
});
