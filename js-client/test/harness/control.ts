// What the suite can't do itself, because it runs in a browser as well: servers and proxies, on command over HTTP.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import type net from 'node:net';
import { type BuildOptions, build } from 'esbuild';
import { lastingPort, type Program, run, runOffice } from './program.js';
import { httpProxy, type Meddler, tcpProxy } from './proxies.js';

interface Command {
  readonly do: string;
  readonly url?: string;
  readonly flags?: readonly string[];
  readonly blast?: Blast;
  readonly mode?: Record<string, unknown>;
}

/** Messages for a benchmark, so many a request; the next request begins when the last was answered. */
export interface Blast {
  readonly to: string;
  readonly body: unknown;
  readonly count: number;
  readonly batch: number;
}

const js = 'text/javascript';

export async function startControl(): Promise<{ url: string; close(): Promise<void> }> {
  const programs = new Map<string, Program & { flags: readonly string[] }>();
  const proxies = new Map<string, Meddler>();
  const files = new Map<string, () => Promise<string | Buffer>>();
  const file = (path: string) => () => readFile(new URL(`../../${path}`, import.meta.url));
  const bundled = (path: string) => () => bundle(new URL(path, import.meta.url).pathname);
  files.set('/page.html', async () => '<!doctype html><title>The suite</title>');
  files.set('/client.js', file('dist/client.js'));
  files.set('/client.global.js', file('dist/client.global.js'));
  files.set('/suite.js', bundled('./page.ts'));
  files.set('/worker.js', bundled('./worker.ts'));
  files.set('/bench-page.js', bundled('./bench-page.ts'));
  files.set('/vectors.json', file('../address/testdata/vectors.json'));

  async function obey({
    do: what,
    url = '',
    flags = [],
    mode = {},
    blast,
  }: Command): Promise<unknown> {
    const program = programs.get(url);
    const proxy = proxies.get(url);
    switch (what) {
      case 'serve': {
        const started = await run(flags, `tcp4://127.0.0.1:${await lastingPort()}`);
        programs.set(started.url, { ...started, flags });
        return started.url;
      }
      case 'office': {
        const started = await runOffice();
        programs.set(started.url, { ...started, flags });
        return started.url;
      }
      case 'stop':
        await program?.stop();
        return url;
      case 'restart': {
        await program?.stop();
        const again = await run(program?.flags ?? [], url.replace('http:', 'tcp4:'));
        programs.set(url, { ...again, flags: program?.flags ?? [] });
        return url;
      }
      case 'tcp':
      case 'http': {
        const started = await (what == 'tcp' ? tcpProxy : httpProxy)(url);
        proxies.set(started.url, started);
        return started.url;
      }
      case 'set':
        proxy?.set(mode);
        return proxy?.count();
      case 'count':
        return proxy?.count();
      case 'blast':
        return blast && send(url, blast);
      default:
        throw new Error(`There is no command ${what}`);
    }
  }

  const server = http.createServer(async (request, response) => {
    response.setHeader('access-control-allow-origin', '*');
    response.setHeader('access-control-allow-headers', '*');
    try {
      const serve = files.get(request.url ?? '');
      if (request.method == 'OPTIONS') {
        response.end();
      } else if (serve) {
        response.setHeader('content-type', request.url?.endsWith('js') ? js : 'text/html');
        response.end(await serve());
      } else {
        let body = '';
        for await (const chunk of request) body += chunk;
        response.end(JSON.stringify((await obey(JSON.parse(body))) ?? null));
      }
    } catch (error) {
      response.statusCode = 500;
      response.end(String(error));
    }
  });
  server.listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));

  return {
    url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    async close() {
      for (const proxy of proxies.values()) proxy.close();
      await Promise.all([...programs.values()].map(program => program.stop()));
      server.close();
      server.closeAllConnections();
    },
  };
}

const bundles = new Map<string, Promise<string>>();

function bundle(entry: string): Promise<string> {
  const options: BuildOptions = {
    entryPoints: [entry],
    bundle: true,
    format: 'esm',
    write: false,
    sourcemap: 'inline',
  };
  const done =
    bundles.get(entry) ?? build(options).then(result => result.outputFiles?.[0]?.text ?? '');
  bundles.set(entry, done);
  return done;
}

async function send(url: string, { to, body, count, batch }: Blast): Promise<void> {
  const line = `${JSON.stringify({ to, body })}\n`;
  for (let left = count; left; ) {
    const answer = await fetch(`${url}/_gb/send`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      body: line.repeat(Math.min(batch, left)),
    });
    const results = (await answer.text()).match(/"status":(202|429)/g);
    if (!results) throw new Error(`The messages were refused with ${answer.status}`);
    // What a full mailbox refused is sent again.
    left -= results.filter(result => result.endsWith('202')).length;
  }
}
