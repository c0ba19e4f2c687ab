// Two proxies that stand before the real server and misbehave on command.
import http from 'node:http';
import net from 'node:net';

export interface Meddler {
  readonly url: string;
  set(mode: Record<string, unknown>): void;
  /** What went through so far. */
  count(): Record<string, number>;
  close(): void;
}

/** What a TCP proxy does to the connections through it. */
export type TcpMode =
  /** Hands everything on. */
  | { mode: 'pass' }
  /** Resets every connection as soon as it is made, and those that are there. */
  | { mode: 'refuse' }
  /** Says nothing more to the client, on old connections and new. */
  | { mode: 'mute' }
  /** Hands the server's bytes on in small pieces, and resets each connection after a random number of them. */
  | { mode: 'chop'; most: number };

export async function tcpProxy(target: string): Promise<Meddler> {
  const { hostname, port } = new URL(target);
  const clients = new Set<net.Socket>();
  let mode: TcpMode = { mode: 'pass' };
  const counts = { connections: 0, cuts: 0 };

  const server = net.createServer(client => {
    counts.connections++;
    client.on('error', () => {});
    if (mode.mode == 'refuse') {
      client.resetAndDestroy();
      return;
    }
    clients.add(client);
    const upstream = net.connect(Number(port), hostname);
    upstream.on('error', () => client.destroy());
    upstream.on('close', () => mode.mode == 'pass' && client.end());
    client.on('close', () => {
      clients.delete(client);
      upstream.destroy();
    });
    client.pipe(upstream);

    let left = mode.mode == 'chop' ? Math.floor(Math.random() * mode.most) : 0;
    upstream.on('data', data => {
      if (mode.mode == 'mute') return;
      if (mode.mode != 'chop') {
        client.write(data);
        return;
      }
      for (let rest = data; rest.length && !client.destroyed; ) {
        const piece = rest.subarray(0, Math.min(left, 1 + Math.floor(Math.random() * 200)));
        rest = rest.subarray(piece.length);
        left -= piece.length;
        client.write(piece);
        if (!left) {
          // Ended rather than reset, and a little later, so that the bytes before the cut arrive: a browser drops
          // what a page did not read before the connection broke.
          setTimeout(() => {
            counts.cuts++;
            client.destroySoon();
          }, 30 * Math.random());
          upstream.destroy();
          return;
        }
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));

  return {
    url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    set(next) {
      mode = next as TcpMode;
      if (mode.mode == 'refuse') for (const client of clients) client.resetAndDestroy();
    },
    count: () => ({ ...counts, open: clients.size }),
    close() {
      server.close();
      for (const client of clients) client.destroy();
    },
  };
}

/** What an HTTP proxy does to the requests through it. */
export interface HttpMode {
  /** Answers with this status, so many times. */
  readonly refuse?: {
    readonly status: number;
    readonly times: number;
    readonly retryAfter?: number;
    /** Never ends the answer. */
    readonly stall?: boolean;
  };
  /** Hands an event stream on only when it has ended, as some virus scanners do. */
  readonly hold?: boolean;
  /** Breaks the connections that are there. */
  readonly cut?: boolean;
  /** Breaks the connection of every request. */
  readonly drop?: boolean;
}

export async function httpProxy(target: string): Promise<Meddler> {
  let mode: HttpMode = {};
  let refused = 0;
  const counts = { requests: 0, refused: 0, streams: 0, polls: 0 };

  const server = http.createServer((request, response) => {
    counts.requests++;
    if (request.url?.includes('wait=')) counts.polls++;
    if (mode.drop) {
      response.destroy();
      return;
    }
    const { refuse } = mode;
    if (refuse && request.method != 'OPTIONS' && refused < refuse.times) {
      refused++;
      counts.refused++;
      response.writeHead(refuse.status, {
        'access-control-allow-origin': '*',
        ...(refuse.retryAfter && { 'retry-after': String(refuse.retryAfter) }),
      });
      response.write('<h1>An answer of a proxy</h1>');
      if (!refuse.stall) response.end();
      return;
    }
    const { method, headers } = request;
    const upstream = http.request(target + request.url, { method, headers }, answer => {
      const held = headers.accept?.includes('event-stream');
      if (held) counts.streams++;
      if (held && mode.hold) {
        answer.resume();
        return;
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
    request.pipe(upstream);
  });
  server.listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));

  return {
    url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    set(next) {
      mode = next;
      refused = 0;
      if (mode.cut) server.closeAllConnections();
    },
    count: () => ({ ...counts }),
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
