import { attenuate } from './address.js';
import { asNetworkError, bearer, request } from './request.js';
import type { Init, Transport } from './transport.js';
import type { Envelope, MailboxKey } from './types.js';

/** How long a server may wait for the first message of an answer, in milliseconds. */
export const WAIT = 25_000;

interface Answer {
  readonly cursor: string;
  readonly gap: number;
  readonly messages: readonly Partial<Envelope>[];
}

/** Reads a mailbox by one request after another, for networks that hold streams back. */
export const poll: Transport = async (wire, { key, cursor }, listener, signal) => {
  async function ask<T>(path: string, method: string): Promise<T> {
    const headers = {
      accept: 'application/json',
      ...(key ? bearer(key) : {}),
      ...(cursor ? { 'last-event-id': cursor } : {}),
    };
    const response = await request(wire, path, { method, headers, cache: 'no-store', signal });
    try {
      return await response.json();
    } catch (cause) {
      throw asNetworkError(cause, signal);
    }
  }

  // The first answer comes at once, so that the program soon learns that this way works.
  let wait = 1;
  if (!key) {
    const init = await ask<Init>('/mailbox', 'POST');
    ({ key, cursor } = init);
    listener.open(init);
    listener.cursor(init.cursor);
    wait = WAIT;
  }
  while (!signal.aborted) {
    const answer = await ask<Answer>(`/mailbox?ack=manual&wait=${wait}ms`, 'GET');
    listener.alive();
    if (wait == 1) listener.open();
    wait = WAIT;
    if (answer.gap) listener.gap(answer.gap);
    cursor = answer.cursor;
    answer.messages.forEach((envelope, index, { length }) => {
      const last = index == length - 1;
      // Its size is not known; an ack too early costs little, one too late fills the mailbox.
      const size = JSON.stringify(envelope.body).length;
      listener.envelope(envelope, size, last ? cursor : undefined);
    });
    listener.cursor(cursor);
  }
  return undefined;
};

/** A poll says nothing of the mailbox that it reads: what is known without asking. */
export async function presumed(key: string, cursor: string | undefined): Promise<Init> {
  return {
    address: (await attenuate(key as MailboxKey, {
      rights: ['send', 'call', 'monitor', 'link'],
    })) as Init['address'],
    cursor: cursor ?? '',
    config: null,
    heartbeat: WAIT,
    limits: { body: 65_536, backlog: 1_000, backlogBytes: 1_048_576 },
  };
}
