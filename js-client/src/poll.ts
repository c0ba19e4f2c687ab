import { readerHeaders, request, textOf } from './request.js';
import type { Init, Transport } from './transport.js';
import type { Envelope } from './types.js';

/** How long a server may wait for the first message of an answer, in milliseconds. */
export const WAIT = 25_000;

interface Answer {
  readonly cursor: string;
  readonly gap: number;
  readonly messages: readonly (Omit<Envelope, 'kind'> & { kind?: string; cursor: string })[];
}

/** Reads a mailbox by one request after another, for networks that hold streams back. */
export const poll: Transport = async (wire, { key, cursor }, listener, signal) => {
  async function ask(method: string, path: string): Promise<string> {
    const headers = readerHeaders('application/json', key, cursor);
    const response = await request(wire, path, { method, headers, cache: 'no-store', signal });
    return textOf(response, signal);
  }

  let opened = false;
  if (!key || !listener.known()) {
    const init: Init = JSON.parse(await ask('POST', '/mailbox'));
    if (!key) {
      ({ key, cursor } = init);
      listener.cursor(init.cursor);
    }
    listener.open(init);
    opened = true;
  }
  // The first answer comes at once, so that the program soon learns that this way works.
  for (let wait = 1; ; wait = WAIT) {
    const text = await ask('GET', `/mailbox?ack=manual&wait=${wait}ms`);
    if (signal.aborted) return undefined;
    const answer: Answer = JSON.parse(text);
    if (!opened) listener.open(undefined);
    opened = true;
    listener.alive();
    if (answer.gap) listener.gap(answer.gap);
    for (const { cursor, ...envelope } of answer.messages) {
      const size = text.length / answer.messages.length;
      listener.message({ kind: 'message', ...envelope }, size, cursor);
    }
    cursor = answer.cursor;
    listener.cursor(cursor);
  }
};
