// What a message costs the program that receives or sends it: processor time of a process of Node, and of a page's
// process in Chromium, with the real server and the network between.
import type { Address } from 'gen-browser';
import { inject } from 'vitest';
import { launch } from './harness/chromium.js';
import { compare, type Measure, processorTime } from './harness/compare.js';
import { MESSAGE } from './harness/message.js';
import { Counter, ours, parserLoop, type Read } from './harness/readers.js';

const ROUNDS = 20;

const control = inject('control');

async function command<T>(command: object): Promise<T> {
  const answer = await fetch(control, { method: 'POST', body: JSON.stringify(command) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

const serve = (...flags: string[]) => command<string>({ do: 'serve', flags });
const server = serve();
// A mailbox there takes for ever what nobody reads.
const other = serve('--overflow', 'drop-oldest');
const sink = other.then(async url => {
  const answer = await fetch(`${url}/_gb/mailbox`, { method: 'POST' });
  const { address }: { address: Address } = await answer.json();
  return address;
});

/** One who reads or sends, somewhere. */
interface Subject {
  readonly address: string;
  /** Resolves when so many messages came, in all. */
  reaches(count: number): Promise<unknown>;
  send(to: string, message: unknown, count: number): Promise<unknown>;
  /** Processor time, in milliseconds for each of `count`. */
  cost(count: number, work: () => Promise<unknown>): Promise<number>;
}

type Open = (url: string) => Promise<Subject>;

const inNode =
  (read: Read): Open =>
  async url => {
    const counter = new Counter();
    await counter.open(read, url);
    return {
      address: counter.reader?.address ?? '',
      reaches: count => counter.reaches(count),
      send: (...args) => counter.send(...args),
      cost: processorTime,
    };
  };

const browser = launch();

const inChromium =
  (who: string): Open =>
  async url => {
    // A context has a process of its own.
    const context = await (await browser).newContext();
    const page = await context.newPage();
    const run = (name: string, ...args: unknown[]) =>
      page.evaluate(`${name}(${args.map(arg => JSON.stringify(arg)).join()})`);
    const devtools = await context.newCDPSession(page);
    await devtools.send('Performance.enable');
    const processTime = async () => {
      const { metrics } = await devtools.send('Performance.getMetrics');
      return (metrics.find(({ name }) => name == 'ProcessTime')?.value ?? Number.NaN) * 1000;
    };
    await page.goto(`${control}/page.html`);
    await page.addScriptTag({ type: 'module', url: `${control}/bench-page.js` });
    return {
      address: (await run('open', who, url)) as string,
      reaches: count => run('reaches', count),
      send: (...args) => run('send', ...args),
      async cost(count, work) {
        const before = await processTime();
        await work();
        return ((await processTime()) - before) / count;
      },
    };
  };

/** So many messages come to one that reads, sent in requests of `batch` of them. */
function receive(open: Open, count: number, batch: number): Measure {
  let opened: Promise<Subject> | undefined;
  let seen = 0;
  return async () => {
    const url = await server;
    opened ??= open(url);
    const { address: to, cost, reaches } = await opened;
    const blast = { to, count, batch, body: MESSAGE };
    seen += count;
    return cost(count, () => Promise.all([reaches(seen), command({ do: 'blast', url, blast })]));
  };
}

function send(open: Open, count: number): Measure {
  let opened: Promise<Subject> | undefined;
  return async () => {
    const to = await sink;
    opened ??= open(await other);
    const subject = await opened;
    return subject.cost(count, () => subject.send(to, MESSAGE, count));
  };
}

const node = inNode(parserLoop);
const chromium = inChromium('eventSource');
const places = {
  Node: {
    receiving: { 'fetch and eventsource-parser': node, ours: inNode(ours) },
    sending: { fetch: node, ours: inNode(ours) },
  },
  Chromium: {
    receiving: {
      EventSource: chromium,
      'fetch and eventsource-parser': inChromium('parserLoop'),
      ours: inChromium('ours'),
    },
    sending: { fetch: chromium, ours: inChromium('ours') },
  },
};

for (const [place, { receiving, sending }] of Object.entries(places)) {
  const each = (who: { [name: string]: Open }, measure: (open: Open) => Measure) => ({
    rounds: ROUNDS,
    unit: 'µs' as const,
    variants: Object.fromEntries(Object.entries(who).map(([name, open]) => [name, measure(open)])),
  });
  compare(
    `${place}: receive, 100 a request`,
    each(receiving, open => receive(open, 10_000, 100)),
  );
  compare(
    `${place}: receive, one a request`,
    each(receiving, open => receive(open, 1_000, 1)),
  );
  compare(`${place}: send`, {
    ...each(sending, open => send(open, 100)),
    ...(place == 'Chromium' && { end: async () => (await browser).close() }),
  });
}
