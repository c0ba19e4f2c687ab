// The real server, built once and run as a process of its own.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const SECRET = 'a-secret-of-the-tests-that-is-long-enough';

let built: string | undefined;

/** The program under test: GENBROWSER_BIN, or else built from this repository. */
export function binary(): string {
  built ??= process.env.GENBROWSER_BIN ?? build('./cmd/genbrowser');
  return built;
}

function build(command: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'genbrowser-')), 'program');
  execFileSync('go', ['build', '-o', path, command], { cwd: root, stdio: 'inherit' });
  return path;
}

let office: string | undefined;

/** A server of this repository's packages, with an exported process. */
export function runOffice(): Promise<Program> {
  office ??= build('./js-client/test/harness/office');
  return spawned(office, []);
}

export interface Program {
  readonly url: string;
  /** Ends it, and waits until it is gone. */
  stop(): Promise<void>;
}

/** Where a program can listen again after it was stopped: below the ports of outgoing connections, which may take it. */
export async function lastingPort(): Promise<number> {
  const port = 16_384 + Math.floor(Math.random() * 16_384);
  const server = net.createServer();
  const free = await new Promise<boolean>(resolve => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
  return free ? port : lastingPort();
}

export function run(
  flags: readonly string[],
  listen = 'tcp4://127.0.0.1:0',
  command: 'serve' | 'playground' = 'serve',
): Promise<Program> {
  return spawned(binary(), [command, '--listen', listen, '--log-format', 'json', ...flags]);
}

async function spawned(program: string, args: readonly string[]): Promise<Program> {
  const child = spawn(program, args, {
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
