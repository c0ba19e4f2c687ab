import { attenuate } from './address.js';
import { asNetworkError, bearer, request } from './request.js';
import type { Init, Transport } from './transport.js';
import type { Address, Envelope, MailboxKey } from './types.js';

/** How long a server may wait for the first message of an answer, in milliseconds. */
export const WAIT = 25_000;

interface Answer {
  readonly cursor: string;
  readonly gap: number;
  readonly messages: readonly Partial<Envelope>[];
}

/** Reads a mailbox by one request after another, for networks that hold streams back. */
export const poll: Transport = async (wire, { key, cursor }, listener, signal) => {
  async function ask(method: string, path: string): Promise<string> {
    const headers = {
      accept: 'application/json',
      ...(key ? bearer(key) : {}),
      ...(cursor ? { 'last-event-id': cursor } : {}),
    };
    const response = await request(wire, path, { method, headers, cache: 'no-store', signal });
    try {
      return await response.text();
    } catch (cause) {
      throw asNetworkError(cause, signal);
    }
  }

  let opened = false;
  if (!key) {
    const init: Init = JSON.parse(await ask('POST', '/mailbox'));
    ({ key, cursor } = init);
    listener.open(init);
    listener.cursor(init.cursor);
    opened = true;
  }
  // The first answer comes at once, so that the program soon learns that this way works.
  for (let wait = 1; ; wait = WAIT) {
    const text = await ask('GET', `/mailbox?ack=manual&wait=${wait}ms`);
    if (signal.aborted) return undefined;
    const answer: Answer = JSON.parse(text);
    // The position before the first message is not known here, if there is any.
    const before = answer.messages.length ? (cursor ?? '') : answer.cursor;
    if (!opened) listener.open(listener.known() ? undefined : await presumed(key, before));
    opened = true;
    listener.alive();
    if (answer.gap) listener.gap(answer.gap);
    cursor = answer.cursor;
    answer.messages.forEach((envelope, index, { length }) => {
      const last = index == length - 1;
      listener.message(envelope, text.length / length, last ? answer.cursor : undefined);
    });
    listener.cursor(cursor);
  }
};

/** An answer to a poll says nothing of the mailbox itself: this is what is known without asking. */
async function presumed(key: string | undefined, cursor: string): Promise<Init> {
  const address = await attenuate(key as MailboxKey, {
    rights: ['send', 'call', 'monitor', 'link'],
  });
  return {
    address: address as Address,
    cursor,
    config: null,
    heartbeat: WAIT,
    limits: { body: 65_536, backlog: 1_000, backlogBytes: 1_048_576 },
  };
}
