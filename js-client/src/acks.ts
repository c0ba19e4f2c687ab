import { delayAfter } from './backoff.js';
import { type GenBrowserError, isLasting } from './errors.js';
import { bearer, pause, requestWithin, type Wire } from './request.js';
import type { Init } from './transport.js';

/** Milliseconds that an acknowledgement may take. */
const TIMEOUT = 10_000;

/** A character of a message takes at most so many bytes at the server. */
const BYTES = 3;

/**
 * Acknowledges what the program took, so that the server forgets it and has room for more. What merely arrived is
 * not acknowledged: a program that falls behind makes its senders wait.
 */
export interface Acks {
  /** The program took a message. */
  taken(cursor: string | undefined, size: number): void;
  /**
   * A stream is open. At the first one, `from` is the position that was resumed from: what came before it was taken,
   * and may be unacknowledged.
   */
  open(limits: Init['limits'], key: string, from: string | undefined): void;
  /** Acknowledges all that was taken, and nothing from then on. Never rejects. */
  finish(keep: boolean): Promise<void>;
}

export function createAcks(wire: Wire): Acks {
  let key = '';
  let cursor: string | undefined; // of the last message that was taken
  let count = 0;
  let bytes = 0;
  let most = { count: 0, bytes: 0 };
  let acknowledged: string | undefined;
  let resumed = false;
  let busy = false;
  let finished = false;
  let waiting: ReturnType<typeof pause> | undefined;

  function isDue() {
    return cursor != acknowledged && (resumed || count >= most.count || bytes >= most.bytes);
  }

  async function acknowledge(keepalive = false) {
    const upTo = cursor;
    const [counted, sized] = [count, bytes];
    const settle = () => {
      acknowledged = upTo;
      resumed = false;
      count -= counted;
      bytes -= sized;
    };
    await requestWithin(
      wire,
      '/ack',
      {
        method: 'POST',
        headers: { ...bearer(key), 'content-type': 'application/json' },
        body: JSON.stringify({ cursor: upTo }),
        keepalive,
      },
      TIMEOUT,
    ).then(settle, error => {
      // A position that the server doesn't know any more, or a dead mailbox, of which the stream tells. What speaks in the
      // server's place knows of neither.
      if (!isLasting(error) || error.code == 'unexpected-answer') throw error;
      settle();
    });
  }

  // A failed acknowledgement is repeated even if no message follows: none can, once the mailbox is full.
  async function run() {
    if (busy || !key) return;
    busy = true;
    for (let failures = 0; !finished && isDue(); ) {
      try {
        await acknowledge();
        failures = 0;
      } catch (error) {
        waiting = pause(delayAfter(error as GenBrowserError, ++failures));
        await waiting.over;
      }
    }
    busy = false;
  }

  return {
    taken(position, size) {
      cursor = position ?? cursor;
      count++;
      bytes += size * BYTES;
      if (!finished && isDue()) run();
    },
    open({ body, backlog, backlogBytes }, mailboxKey, from) {
      if (!key) cursor = from;
      resumed ||= !key && !!from;
      key = mailboxKey;
      // A sender must find room for the longest message before so much was taken.
      most = { count: backlog / 4, bytes: Math.min(backlogBytes / 4, backlogBytes - body) };
      run();
    },
    async finish(keep) {
      finished = true;
      waiting?.skip();
      if (keep && cursor != acknowledged) await acknowledge(true).catch(() => {});
    },
  };
}
