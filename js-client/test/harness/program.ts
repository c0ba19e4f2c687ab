// The real server, built once and run as a process of its own.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const SECRET = 'a-secret-of-the-tests-that-is-long-enough';

let built: string | undefined;

/** The program under test: GENBROWSER_BIN, or else built from this repository. */
export function binary(): string {
  built ??= process.env.GENBROWSER_BIN ?? build();
  return built;
}

function build(): string {
  const path = join(mkdtempSync(join(tmpdir(), 'genbrowser-')), 'genbrowser');
  execFileSync('go', ['build', '-o', path, './cmd/genbrowser'], { cwd: root, stdio: 'inherit' });
  return path;
}

export interface Program {
  readonly url: string;
  /** Ends it, and waits until it is gone. */
  stop(): Promise<void>;
}

export async function run(
  flags: readonly string[],
  listen = 'tcp4://127.0.0.1:0',
  command: 'serve' | 'playground' = 'serve',
): Promise<Program> {
  const args = [command, '--listen', listen, '--log-format', 'json', ...flags];
  const child = spawn(binary(), args, {
    env: { ...process.env, SECRET },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const gone = new Promise<void>(resolve => child.once('exit', () => resolve()));
  const said: string[] = [];
  const url = await new Promise<string>((resolve, reject) => {
    createInterface(child.stderr).on('line', line => {
      said.push(line);
      const at = /http:\/\/[^"\s]+/.exec(line);
      if (line.includes('listening') && at) resolve(at[0]);
    });
    gone.then(() => reject(new Error(`genbrowser ${args.join(' ')} ended:\n${said.join('\n')}`)));
  });
  return {
    url,
    stop() {
      child.kill('SIGTERM');
      return gone;
    },
  };
}
