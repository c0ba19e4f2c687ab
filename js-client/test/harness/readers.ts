// What the benchmarks compare: our client, and what a page or a program would write by hand.
import { createParser } from 'eventsource-parser';
import { start } from 'gen-browser';

export interface Reader {
  readonly address: string;
  send(to: string, message: unknown): Promise<unknown>;
  close(): unknown;
}

/** Opens a mailbox, and gives each message to `take`. */
export type Read = (
  server: string,
  take: (message: unknown) => void,
  fetcher?: typeof fetch,
) => Promise<Reader>;

export const ours: Read = async (server, take, fetcher = fetch) => {
  const client = await start(server, { fetch: fetcher });
  client.mailbox.handle(take);
  const { address, close } = client;
  return { address, close, send: (to, message) => client.send(to as typeof address, message) };
};

export const eventSource: Read = (server, take) => {
  const source = new EventSource(`${server}/_gb/mailbox`);
  source.onmessage = ({ data }) => take(JSON.parse(data));
  return new Promise(resolve => {
    source.addEventListener('init', ({ data }) => {
      const { address } = JSON.parse(data);
      resolve({ address, close: () => source.close(), send: post(server, fetch) });
    });
  });
};

/** In Node there is no EventSource. */
export const parserLoop: Read = async (server, take, fetcher = fetch) => {
  const stop = new AbortController();
  const response = await fetcher(`${server}/_gb/mailbox?new`, {
    headers: { accept: 'text/event-stream' },
    signal: stop.signal,
  });
  return new Promise(resolve => {
    const parser = createParser({
      onEvent({ event, data }) {
        const value = JSON.parse(data);
        if (!event) take(value);
        if (event != 'init') return;
        const { address } = value;
        resolve({ address, close: () => stop.abort(), send: post(server, fetcher) });
      },
    });
    const read = async () => {
      const decoder = new TextDecoder();
      const reader = response.body?.getReader();
      for (;;) {
        const piece = await reader?.read();
        if (!piece || piece.done) return;
        parser.feed(decoder.decode(piece.value, { stream: true }));
      }
    };
    read().catch(() => {});
  });
};

function post(server: string, fetcher: typeof fetch): Reader['send'] {
  return async (to, message) => {
    const body = JSON.stringify(message);
    const answer = await fetcher(`${server}/_gb/send/${to}`, { method: 'POST', body });
    if (!answer.ok) throw new Error(`${answer.status}`);
  };
}

/** One who reads, and counts. */
export class Counter {
  #seen = 0;
  #wanted = Number.NaN;
  #reached = () => {};
  reader?: Reader;

  async open(read: Read, server: string, fetcher?: typeof fetch): Promise<void> {
    const take = () => {
      if (++this.#seen == this.#wanted) this.#reached();
    };
    this.reader = await read(server, take, fetcher);
  }

  /** Resolves when so many messages came, in all. */
  reaches(count: number): Promise<void> {
    return new Promise(resolve => {
      this.#wanted = count;
      this.#reached = resolve;
      if (this.#seen >= count) resolve();
    });
  }

  /** Sends so many messages, one after the other. */
  async send(to: string, message: unknown, count: number): Promise<void> {
    for (let n = 0; n < count; n++) await this.reader?.send(to, message);
  }
}
