// The page of the benchmarks in Chromium.
import { Counter, eventSource, ours, parserLoop, type Read } from './readers.js';

const readers: { readonly [name: string]: Read } = { eventSource, ours, parserLoop };
const counter = new Counter();

Object.assign(globalThis, {
  async open(who: string, server: string) {
    await counter.open(readers[who] as Read, server);
    return counter.reader?.address;
  },
  reaches: (count: number) => counter.reaches(count),
  send: (to: string, message: unknown, count: number) => counter.send(to, message, count),
});
