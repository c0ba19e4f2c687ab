import { delay } from './backoff.js';
import { GenBrowserError, isLasting } from './errors.js';
import type { Arrival } from './mailbox.js';
import { poll, WAIT } from './poll.js';
import { after, pause, type Wire } from './request.js';
import { stream } from './stream.js';
import type { Bye, Init, Listener } from './transport.js';
import type { Closed, ClosedReason, Status } from './types.js';

/** How many milliseconds a server has to answer, or a stream to begin, at the first and the second attempt. */
const OPEN_WITHIN = 4_000;

/** A stream that says nothing for so many heartbeats is broken. */
const MUTE = 2.5;

/** A stream that says nothing for so many heartbeats is not trusted when the device wakes up. */
const SUSPECT = 1.25;

/** So many streams in a row that did not begin are taken for a network that holds them back. */
const HELD_BACK = 2;

/** What a device says when it wakes up, or gets its network back. */
const WAKING = ['online', 'pageshow', 'visibilitychange'];

/** What a connection tells its owner. */
export interface Owner {
  /** An `init` came, at each new stream. */
  onInit(init: Init): void;
  /** Whether the message goes to the program; if not, the next one tells of the gap before it. */
  onArrival(arrival: Arrival): boolean;
  onGap(missing: number): void;
  onStatus(status: Status): void;
  /** A stream, or the attempt to begin one, failed; it will be tried again. */
  onBreak(error: GenBrowserError | undefined): void;
  onError(error: unknown): void;
  /**
   * Whether to try again after a refusal, because the position was set to another one: to the mailbox's start when its
   * cursor is unknown, to a new mailbox when the one that was to be resumed is dead.
   */
  startsOver(error: GenBrowserError): boolean;
}

/** Where to read from. `cursor` moves on with every message that arrived. */
export interface Position {
  key: string | undefined;
  cursor: string | undefined;
}

/** Keeps a mailbox's messages coming until it ends or is ended. Returns what ends it. */
export function connect(
  wire: Wire,
  mode: 'auto' | 'sse' | 'long-poll',
  position: Position,
  owner: Owner,
): (closed: Closed) => void {
  let ended = false;
  let attempt = new AbortController();
  let resting: ReturnType<typeof pause> | undefined; // for as long as the server asked
  let waiting: ReturnType<typeof pause> | undefined;
  let known = false;
  let heartbeat = 0;
  let heard = 0; // when something last came on an open stream, in milliseconds since 1970; else 0
  let missing = 0; // messages that are missing before the next one that comes
  let polling = mode == 'long-poll';
  let left = false; // the page, which may be shown again

  function end(closed: Closed) {
    if (ended) return;
    ended = true;
    listen('remove');
    resting?.skip();
    waiting?.skip();
    attempt.abort();
    owner.onStatus(closed);
  }

  function listen(how: 'add' | 'remove') {
    const change = globalThis[`${how}EventListener`];
    for (const event of WAKING) change?.(event, wake);
    change?.('pagehide', leave);
  }

  /** A page that was left runs for a moment: a message that came by then would be handled where nobody sees it. */
  function leave() {
    left = true;
    attempt.abort(mute());
  }

  function wake({ type }: Event) {
    if (type != 'pageshow' && globalThis.document?.hidden) return;
    left = false;
    waiting?.skip();
    if (heard && !polling && Date.now() - heard > SUSPECT * heartbeat) attempt.abort(mute());
  }

  /** One stream, or one series of polls, from its beginning to its end. */
  async function read(failures: number) {
    attempt = new AbortController();
    let openedAt = 0;
    let delivered = false;
    let heldBack = false;
    let stopWatch = () => {};
    // One timer, that looks when something last came: a new one for each piece is a tenth of a message's cost.
    const watchSilence = () => {
      const most = polling ? WAIT + OPEN_WITHIN : MUTE * heartbeat;
      // The clock may be set back meanwhile.
      const left = most - Math.abs(Date.now() - heard);
      if (left > 0) stopWatch = after(left, watchSilence);
      else attempt.abort(mute());
    };
    // A link may be slow rather than held back: the more attempts failed, the longer the next one may take.
    const within = OPEN_WITHIN * 2 ** Math.min(failures >> 1, 3);
    stopWatch = after(within, () => {
      heldBack = !polling;
      attempt.abort(new GenBrowserError('timeout', `No mailbox within ${within} ms`));
    });

    const listener: Listener = {
      known: () => known,
      alive() {
        if (openedAt) heard = Date.now();
      },
      open(init) {
        if (ended) return;
        openedAt = heard = Date.now();
        if (init) {
          known = true;
          heartbeat = init.heartbeat;
          position.key ??= init.key;
          owner.onInit(init);
          if (init.gap) listener.gap(init.gap);
        }
        stopWatch();
        watchSilence();
        owner.onStatus({ state: 'open', transport: polling ? 'long-poll' : 'sse' });
      },
      message(envelope, size, cursor) {
        if (ended) return;
        delivered = true;
        const told = missing ? { ...envelope, gap: missing } : envelope;
        if (owner.onArrival({ envelope: told, cursor, size })) missing = 0;
      },
      gap(count) {
        missing += count;
        owner.onGap(count);
      },
      cursor(cursor) {
        position.cursor = cursor;
      },
      error: owner.onError,
    };

    let bye: Bye | undefined;
    let error: GenBrowserError | undefined;
    try {
      bye = await (polling ? poll : stream)(wire, position, listener, attempt.signal);
    } catch (cause) {
      const known = cause instanceof GenBrowserError;
      error = known ? cause : new GenBrowserError('unexpected-answer', String(cause), cause);
    }
    stopWatch();
    // Whatever of the attempt is still under way.
    attempt.abort();
    heard = 0;
    const worked = delivered || (openedAt > 0 && Date.now() - openedAt >= heartbeat);
    return { bye, error, heldBack, worked, opened: openedAt > 0 };
  }

  async function run() {
    let failures = 0;
    let heldBack = 0;
    while (!ended) {
      const { bye, error, ...how } = await read(failures);
      if (ended) return;
      const final = closedBy(bye, error, known);
      if (final) {
        if (!owner.startsOver(final.error)) return end(final);
        if (position.key) {
          // The same mailbox: nobody knows what is missing.
          missing = Infinity;
          owner.onGap(missing);
        }
        continue;
      }

      // The first try after a break comes at once; a stream that breaks again and again doesn't get that each time.
      const atOnce = how.worked || (how.opened && !failures);
      failures = how.worked ? 0 : failures + 1;
      if (mode == 'auto') {
        heldBack = how.heldBack ? heldBack + 1 : how.opened ? 0 : heldBack;
        // A poll that found no server proves nothing against streams.
        if (polling) polling = left || error?.status !== undefined;
        else polling = heldBack >= HELD_BACK;
        if (polling) heldBack = 0;
      }
      resting = pause(bye?.retry ?? (error?.retryAfter ?? 0) * 1000);
      // It may end the pause, and everything.
      owner.onBreak(error);
      await resting.over;
      let wait = atOnce || ended ? 0 : delay(failures);
      do {
        waiting = pause(wait);
        await waiting.over;
        wait = 1e9;
      } while (left && !ended);
    }
  }

  listen('add');
  run();
  return end;
}

/**
 * The end that a connection's end means, if it is not to be tried again. A mailbox that is `known` is not ended by what
 * a proxy says in the server's place.
 */
function closedBy(
  bye: Bye | undefined,
  error: GenBrowserError | undefined,
  known: boolean,
): Required<Closed> | undefined {
  if (bye) {
    if (bye.retry !== undefined) return undefined;
    const code = bye.reason ?? 'gone';
    return closed(new GenBrowserError(code, `The server ended the stream: ${code}`));
  }
  if (!error || !isLasting(error) || (known && error.code == 'unexpected-answer')) return undefined;
  return closed(error);
}

function closed(error: GenBrowserError): Required<Closed> {
  const reasons: string[] = ['closed', 'expired', 'gone', 'taken-over'];
  const over = error.code == 'capability-expired' ? 'expired' : 'error';
  const other = error.status == 410 ? 'gone' : over;
  const reason = reasons.includes(error.code) ? (error.code as ClosedReason) : other;
  return { state: 'closed', reason, error };
}

function mute(): GenBrowserError {
  return new GenBrowserError('timeout', 'The stream went silent');
}
