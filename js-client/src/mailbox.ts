import { GenBrowserError } from './errors.js';
import { onAbort, within } from './request.js';
import type { Closed, Envelope, Handler, Mailbox, ReceiveOptions } from './types.js';

/** A message that arrived whole, on its way to the program. */
export interface Arrival {
  readonly envelope: Envelope;
  /** The position after it; absent if a server that is not ours left it out. */
  readonly cursor: string | undefined;
  /** The length of its JSON, as characters. */
  readonly size: number;
}

/** The mailbox that the program sees, with the end that the stream fills. */
export interface Queue extends Mailbox {
  /** @internal */
  push(arrival: Arrival): void;
  /** @internal Takes the calls out that wait. */
  calls(): Arrival[];
  /** @internal What arrived and was not taken is handed out still, unless it is to be dropped. */
  end(closed: Closed, drop: boolean): GenBrowserError;
}

interface Receiver {
  resolve(envelope: Envelope): void;
  reject(reason: unknown): void;
}

/**
 * @param taken is told of each message that the program took: for a handler, when it is done with it.
 * @param onError is told what a handler threw.
 */
export function createMailbox(
  taken: (arrival: Arrival) => void,
  onError: (error: unknown) => void,
): Queue {
  const arrivals: Arrival[] = [];
  let receiver: Receiver | undefined;
  let handler: Handler | undefined;
  let handling = false;
  let iterating = false;
  let ended: GenBrowserError | undefined;
  let closedByProgram = false;
  let resolveClosed: (closed: Closed) => void;
  const closed = new Promise<Closed>(resolve => {
    resolveClosed = resolve;
  });

  function assertNotRead() {
    const by = (handler && 'a handler') || (iterating && 'an iteration') || (receiver && 'receive');
    if (by) throw new GenBrowserError('busy', `The mailbox is read by ${by} already`);
  }

  async function next({ timeout = Infinity, signal }: ReceiveOptions = {}) {
    if (signal?.aborted) throw signal.reason;
    const arrival = arrivals.shift();
    if (arrival) {
      taken(arrival);
      return arrival.envelope;
    }
    if (ended) throw ended;
    return within(
      timeout,
      signal,
      signal =>
        new Promise<Envelope>((resolve, reject) => {
          const waiting = { resolve, reject };
          receiver = waiting;
          onAbort(signal, () => {
            if (receiver == waiting) receiver = undefined;
          });
        }),
    );
  }

  // The receiver is gone from the moment it is settled, so that a message that comes next is queued, not lost.
  function giveUp(reason: unknown) {
    const waiting = receiver;
    receiver = undefined;
    waiting?.reject(reason);
  }

  async function handleAll(handle: Handler) {
    handling = true;
    // The first message comes after handle() returned, as all the others do.
    await undefined;
    for (let arrival = arrivals.shift(); arrival; arrival = arrivals.shift()) {
      try {
        // Only what there is to wait for: each await is a tenth of a message's cost.
        const done = handle(arrival.envelope.body, arrival.envelope);
        if (done) await done;
      } catch (error) {
        onError(error);
      }
      taken(arrival);
    }
    handling = false;
  }

  const mailbox: Queue = {
    closed,

    async receive<T>(options?: ReceiveOptions) {
      return (await mailbox.receiveEnvelope<T>(options)).body;
    },

    async receiveEnvelope<T>(options?: ReceiveOptions) {
      assertNotRead();
      return (await next(options)) as Envelope<T>;
    },

    handle(fn: Handler<never>) {
      assertNotRead();
      if (ended && !arrivals.length) throw ended;
      assertHandler(fn);
      handler = fn as Handler;
      handleAll(handler);
    },

    setHandler(fn) {
      mailbox.handle(fn);
    },

    async *[Symbol.asyncIterator]() {
      assertNotRead();
      iterating = true;
      try {
        for (;;) yield (await next()).body;
      } catch (error) {
        if (error != ended || !closedByProgram) throw error;
      } finally {
        iterating = false;
      }
    },

    push(arrival) {
      if (receiver) {
        const waiting = receiver;
        receiver = undefined;
        taken(arrival);
        waiting.resolve(arrival.envelope);
      } else {
        arrivals.push(arrival);
        if (handler && !handling) handleAll(handler);
      }
    },

    calls() {
      const others = arrivals.filter(({ envelope }) => envelope.kind != 'call');
      const calls = arrivals.filter(({ envelope }) => envelope.kind == 'call');
      arrivals.splice(0, Infinity, ...others);
      return calls;
    },

    end(status, drop) {
      const { error, reason } = status;
      ended = new GenBrowserError(
        (reason == 'error' && error?.code) || reason,
        error ? `Mailbox is closed: ${error.detail}` : 'Mailbox is closed',
        error,
      );
      closedByProgram = !error;
      if (drop) arrivals.length = 0;
      giveUp(ended);
      resolveClosed(status);
      return ended;
    },
  };
  return mailbox;
}

/** Every message would count as taken by what is none. */
export function assertHandler(fn: unknown): void {
  if (typeof fn != 'function')
    throw new GenBrowserError('malformed-request', `A handler is a function, not ${typeof fn}`);
}
