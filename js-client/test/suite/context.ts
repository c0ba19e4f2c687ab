import {
  type Client,
  type MailboxStorage,
  type StartOptions,
  type Status,
  start,
} from 'gen-browser';
import { until } from './assert.js';

/** A case of the suite. */
export type Case = (t: Context) => Promise<void>;

/** How a suite is handed to whatever runs it. */
export type Register = (name: string, run: Case) => void;

/** What every case may use. What it started is ended when it is over. */
export class Context {
  readonly #clients: Client[] = [];
  readonly #after: (() => void)[] = [];

  constructor(
    readonly control: string,
    /** A server that all cases share; its heartbeat is 1 s. */
    readonly server: string,
  ) {}

  async start<Config = unknown>(
    options?: StartOptions,
    url = this.server,
  ): Promise<Client<Config>> {
    const client = await start<Config>(url, options);
    this.#clients.push(client);
    return client;
  }

  /** A client, and what resolves when so many messages arrived at it, taken or not. */
  async startWatched(
    options?: StartOptions,
  ): Promise<{ client: Client; arrived(count: number): Promise<void> }> {
    let events = 0;
    const watched: typeof fetch = async (input, init) => {
      const answer = await fetch(input, init);
      const type = answer.headers.get('content-type') ?? '';
      if (!answer.body || !type.startsWith('text/event-stream')) return answer;
      const decoder = new TextDecoder();
      const count = new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          controller.enqueue(chunk);
          // A body has no line ends of its own: every event is one such line.
          events += decoder.decode(chunk, { stream: true }).split('\ndata:').length - 1;
        },
      });
      const { status, headers } = answer;
      return new Response(answer.body.pipeThrough(count), { status, headers });
    };
    const client = await this.start({ ...options, fetch: watched });
    const init = 1;
    return { client, arrived: count => until(() => events >= init + count) };
  }

  /** A server of its own, with these flags. */
  serve(...flags: string[]): Promise<string> {
    return this.#do({ do: 'serve', flags });
  }

  /** A server of its own, with an exported process: harness/office. */
  office(): Promise<string> {
    return this.#do({ do: 'office' });
  }

  stop(server: string): Promise<void> {
    return this.#do({ do: 'stop', url: server });
  }

  /** Ends a server and starts it again: at the same port, with the same secret. */
  restart(server: string): Promise<void> {
    return this.#do({ do: 'restart', url: server });
  }

  async proxy(kind: 'tcp' | 'http', target = this.server, mode?: object): Promise<Meddler> {
    const url = await this.#do<string>({ do: kind, url: target });
    const proxy: Meddler = {
      url,
      set: mode => this.#do({ do: 'set', url, mode }),
      count: () => this.#do({ do: 'count', url }),
    };
    if (mode) await proxy.set(mode);
    this.after(() => proxy.set({ mode: 'pass' }));
    return proxy;
  }

  vectors<T>(): Promise<T> {
    return fetch(`${this.control}/vectors.json`).then(answer => answer.json());
  }

  async #do<T>(command: object): Promise<T> {
    const answer = await fetch(this.control, { method: 'POST', body: JSON.stringify(command) });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  /** Undoes something when the case is over. */
  after(undo: () => void): void {
    this.#after.push(undo);
  }

  async end(): Promise<void> {
    for (const undo of this.#after) undo();
    await Promise.all(this.#clients.map(client => client.close()));
  }
}

export interface Meddler {
  readonly url: string;
  set(mode: object): Promise<void>;
  count(): Promise<Record<string, number>>;
}

export async function runCase(run: Case, control: string, server: string): Promise<void> {
  const context = new Context(control, server);
  try {
    await run(context);
  } finally {
    await context.end();
  }
}

/** A storage that forgets nothing but what it is told to, like that of a page, and that can be looked into. */
export function storage(): MailboxStorage & { readonly items: Map<string, string> } {
  const items = new Map<string, string>();
  return {
    items,
    getItem: name => items.get(name) ?? null,
    setItem: (name, value) => items.set(name, value),
    removeItem: name => items.delete(name),
  };
}

/** Resolves when a client's status is in this state. */
export async function reaches(client: Client, state: Status['state']): Promise<void> {
  await until(() => client.status.state == state);
}

/** The events by which a runtime tells that it woke up; Node has none. */
export function wakingEvents(t: { after(undo: () => void): void }): {
  dispatch(name: string): void;
} {
  if (globalThis.addEventListener !== undefined)
    return { dispatch: name => globalThis.dispatchEvent(new Event(name)) };
  const target = new EventTarget();
  const { addEventListener, removeEventListener } = globalThis;
  globalThis.addEventListener = target.addEventListener.bind(target);
  globalThis.removeEventListener = target.removeEventListener.bind(target);
  t.after(() => Object.assign(globalThis, { addEventListener, removeEventListener }));
  return { dispatch: name => target.dispatchEvent(new Event(name)) };
}

/** Has the pauses of a client be as short as can be. */
export function withoutJitter(t: { after(undo: () => void): void }): void {
  const { random } = Math;
  Math.random = () => 0;
  t.after(() => {
    Math.random = random;
  });
}
