import { createAcks } from './acks.js';
import { isKey } from './address.js';
import { createAnswers } from './answer.js';
import { createCalls, random } from './calls.js';
import { connect, type Owner, type Position } from './connection.js';
import { GenBrowserError } from './errors.js';
import { ENDED, letterOf, post } from './line.js';
import { createMailbox } from './mailbox.js';
import { createOrder } from './order.js';
import { deliver } from './outbox.js';
import { after, bearer, onAbort, requestWithin, type Wire } from './request.js';
import { load } from './storage.js';
import type { Init } from './transport.js';
import type { Client, MailboxKey, StartOptions, Status } from './types.js';
import { whereis } from './whereis.js';

/** Milliseconds that closing a mailbox may take. */
const CLOSE_WITHIN = 5_000;

/** Whether fetch can ask there; what it says of another URL looks like a server that can't be reached at the moment. */
function isHttp(url: string | URL): boolean {
  try {
    return /^https?:/.test(new URL(url, globalThis.location?.href).protocol);
  } catch {
    return false;
  }
}

/**
 * Opens a mailbox at a GenBrowser server, or resumes one, and keeps its messages coming.
 *
 * @param url the server; default: the page's own origin.
 * @throws GenBrowserError `timeout` (its `cause` tells what failed last), or why the server refuses.
 */
export async function start<Config = unknown>(
  url: string | URL = globalThis.location?.origin,
  options: StartOptions = {},
): Promise<Client<Config>> {
  const { prefix = '/_gb', storage, timeout = 15_000, signal, transport = 'auto' } = options;

  /** Reports a fault of the program, which must not become the client's: this callback may throw, too. */
  function onError(error: unknown) {
    try {
      (options.onError ?? console.error)(error);
    } catch (another) {
      console.error(another);
    }
  }

  if (!isHttp(url))
    throw new GenBrowserError('malformed-request', 'start() needs a URL with http: or https:');
  // Checked here as well, because what fetch says of a header that it can't send quotes it.
  if (options.key && !isKey(options.key))
    throw new GenBrowserError('malformed-address', 'This is not the text of a key');
  if (signal?.aborted) throw signal.reason;
  if (!(timeout > 0)) throw new GenBrowserError('timeout', `No mailbox within ${timeout} ms`);

  const fetcher = options.fetch ?? globalThis.fetch;
  const wire: Wire = {
    base: String(url).replace(/\/+$/, '') + prefix,
    // A browser's fetch must not be called as a method of something else.
    fetch: (input, init) => fetcher(input, init),
    outbox: new Map(),
  };
  const name = `gen-browser:${wire.base}`;
  const store = options.key ? undefined : storage;
  const saved = options.key ? options : store && load(store, name);
  const position: Position = { key: saved?.key, cursor: saved?.cursor };
  let kept = saved?.key; // in the storage, unless another tab saved its own there

  const listeners = new Set<(status: Status) => void>();
  if (options.onStatus) listeners.add(options.onStatus);
  let status: Status = { state: 'connecting' };
  let init: Init | undefined;
  let resumed = !!saved;
  let cursor = saved?.cursor;
  let lastError: GenBrowserError | undefined;
  let closing: Promise<void> | undefined;
  let keeping = false;

  const acks = createAcks(wire);
  const order = createOrder(arrival => {
    cursor = arrival.cursor ?? cursor;
    acks.taken(arrival.cursor, arrival.size);
    save();
  });
  const mailbox = createMailbox(order.taken, onError);
  const calls = createCalls(wire, self, tell);
  const answers = createAnswers(wire, assertOpen, mailbox.calls, order.taken);

  function self() {
    const { address } = init as Init;
    if (!address) throw new GenBrowserError('missing-right', 'The key has no right of an address');
    return address;
  }

  function assertOpen() {
    if (closing) throw new GenBrowserError('closed', 'The client is closed');
  }

  function whileOpen<T extends unknown[], R>(ask: (...args: T) => Promise<R>) {
    return async (...args: T): Promise<R> => {
      assertOpen();
      return ask(...args);
    };
  }

  /** Runs a callback of the program, whose faults are its own. */
  function tell<T>(callback: ((value: T) => void) | undefined, value: T) {
    try {
      callback?.(value);
    } catch (error) {
      onError(error);
    }
  }

  function save() {
    // After an error the mailbox lives on, and what had arrived is still taken.
    if ((status.state == 'closed' && status.reason != 'error') || !position.key) return;
    tell(() => {
      if (!isOurs()) return;
      kept = position.key;
      store?.setItem(name, JSON.stringify({ key: kept, cursor }));
    }, undefined);
  }

  /** Whether the storage has this mailbox, or nothing: another tab may have saved its own by now. */
  function isOurs() {
    const key = store && load(store, name)?.key;
    return !key || key == kept;
  }

  function setStatus(next: Status) {
    status = next;
    for (const listener of listeners) {
      tell(listener, next);
      // It closed the client: the others were told of that, and must not be told of what was before.
      if (status != next) return;
    }
  }

  return new Promise<Client<Config>>((resolve, reject) => {
    const owner: Owner = {
      onInit(next) {
        init = next;
        acks.open(next.limits, position.key ?? '', cursor);
        cursor ??= next.cursor;
      },
      onArrival(arrival) {
        order.came(arrival);
        // Before the mailbox, so that a handler that the mailbox waits for may itself wait for an answer.
        const answer = calls.take(arrival.envelope);
        if (answer) order.taken(arrival);
        else if (!answers.take(arrival)) mailbox.push(arrival);
        return !answer;
      },
      onGap: missing => tell(options.onGap, missing),
      onError,
      onBreak(error) {
        lastError = error;
        if (status.state != 'connecting')
          setStatus({ state: 'reconnecting', ...(error && { error }) });
      },
      startsOver({ code, status: answer }) {
        // What the program gave as a cursor is its own fault; what was saved is nobody's.
        const spoilt = code == 'malformed-cursor' && !options.key;
        const unknown = position.cursor && (answer == 409 || answer == 416 || spoilt);
        const dead = answer == 410 || /capability|address/.test(code);
        if (!unknown) {
          if (!dead || options.key || !resumed || init) return false;
          resumed = false;
          position.key = undefined;
        }
        position.cursor = cursor = undefined;
        return true;
      },
      onStatus(next) {
        if (next.state == 'closed') {
          stopWaiting();
          // The new reader gets what was not taken; so does the next one of a mailbox that is kept.
          calls.end(mailbox.end(next, keeping || next.reason == 'taken-over'));
          acks.finish(false);
          if (!keeping && next.reason != 'taken-over' && next.reason != 'error')
            tell(() => isOurs() && store?.removeItem(name), undefined);
          setStatus(next);
          if (next.error) reject(next.error);
        } else {
          stopWaiting();
          setStatus(next);
          save();
          resolve(client);
        }
      },
    };

    const end = connect(wire, transport, position, owner);
    const giveUp = (reason: unknown) => {
      reject(reason);
      keeping = true;
      end({ state: 'closed', reason: 'closed' });
    };
    const stopTimer = after(timeout, () =>
      giveUp(
        new GenBrowserError(
          'timeout',
          `No mailbox within ${timeout} ms: ${lastError?.detail ?? 'no answer'}`,
          lastError,
        ),
      ),
    );
    const stopListening = onAbort(signal, giveUp);
    function stopWaiting() {
      stopTimer();
      stopListening();
    }

    const client: Client<Config> = {
      mailbox,
      get address() {
        return self();
      },
      get config() {
        return (init as Init).config as Config;
      },
      get key() {
        return position.key as MailboxKey;
      },
      get cursor() {
        return cursor as string;
      },
      get resumed() {
        return resumed;
      },
      get status() {
        return status;
      },
      onStatus(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      send: whileOpen(async (to, message, { id, ttl, timeout = 30_000, ...how } = {}) =>
        deliver(wire, letterOf({ to, id, ttl }, message), timeout, how.signal, how.keepalive),
      ),
      call: whileOpen(calls.call) as Client['call'],
      reply: answers.reply,
      fail: answers.fail,
      serve: answers.serve,
      monitor: whileOpen(calls.monitor),
      link: whileOpen(calls.link),
      exit: whileOpen(async (to, reason, options) => {
        const letter = letterOf({ to, kind: 'exit', id: random(10) }, reason ?? null);
        return post(wire, { letter, done: ENDED }, options);
      }),
      whereis: whileOpen((exported, options) => whereis(wire, exported, options)),
      close({ keep = false } = {}) {
        closing ??= close(keep);
        return closing;
      },
    };

    async function close(keep: boolean) {
      if (status.state == 'closed') return;
      keeping = keep;
      const told = keep
        ? acks.finish(true)
        : requestWithin(
            wire,
            '/mailbox',
            { method: 'DELETE', headers: bearer(client.key), keepalive: true },
            CLOSE_WITHIN,
          );
      end({ state: 'closed', reason: 'closed' });
      await told.catch(() => {});
    }
  });
}
