import { attenuate, encode } from './address.js';
import { type GenBrowserError, problemOf } from './errors.js';
import { ENDED, letterOf, post } from './line.js';
import type { Wire } from './request.js';
import type {
  Address,
  CallOptions,
  Client,
  Down,
  Envelope,
  Link,
  Monitor,
  MonitorOptions,
  RequestOptions,
} from './types.js';

/** So many milliseconds, 30,000 years, are more than the time of a reply address is made for. */
const FOR_EVER = 1e15;

/** What this client asked of others, and the way of the answers to who asked. */
export interface Calls extends Pick<Client, 'call' | 'monitor' | 'link'> {
  /** Whether the message answers this client, or did: then it is none of the program's mailbox. */
  take(envelope: Envelope): boolean;
  /** No answer can come any more. */
  end(error: GenBrowserError): void;
}

interface Waiting {
  resolve(envelope: Envelope): void;
  reject(error: GenBrowserError): void;
  onState: MonitorOptions['onState'];
}

/** @param tell runs a callback of the program, whose faults are its own. */
export function createCalls(
  wire: Wire,
  self: () => Address,
  tell: <T>(callback: ((value: T) => void) | undefined, value: T) => void,
): Calls {
  const waiting = new Map<string, Waiting>();
  // Every ref of this client begins with it, so that what comes too late is known as well.
  const mine = random(6);
  let ended: GenBrowserError | undefined;

  /** Prepares a line that will be answered: with its reply address, and with somebody who waits for the answer. */
  async function ask(
    kind: string,
    to: Address,
    message: unknown,
    expires?: number,
    onState?: MonitorOptions['onState'],
  ) {
    const ref = mine + random(10);
    const reply = await attenuate(self(), {
      // Who links is linked as well.
      rights: kind == 'link' ? ['send', 'link'] : ['send'],
      reply: ref,
      ...(expires && { expires }),
    });
    const members = { to, ref, reply };
    const letter = letterOf({ kind, id: ref, ...members }, message);
    if (ended) throw ended;
    const answer = new Promise<Envelope>((resolve, reject) => {
      waiting.set(ref, { resolve, reject, onState });
    });
    // Nobody needs to wait for it: the end of the mailbox is told elsewhere.
    answer.catch(() => {});
    const asked = () => waiting.get(ref);
    return { members, letter, answer, asked, forget: () => waiting.delete(ref) };
  }

  async function call<T>(to: Address, message: unknown, options: CallOptions = {}): Promise<T> {
    const { timeout = 10_000 } = options;
    const expires = timeout < FOR_EVER ? Math.ceil((Date.now() + timeout) / 1000) + 1 : undefined;
    const { letter, answer, forget } = await ask('call', to, message, expires);
    try {
      const { kind, body } = await post(
        wire,
        // Who ended after an attempt without an answer may have been called, and have answered.
        { letter, done: ENDED },
        { ...options, timeout },
        // The reply may come although the line's own answer was lost.
        accepted => Promise.race([accepted.then(() => answer), answer]),
        'call-timeout',
      );
      if (kind == 'failure') throw problemOf(body, 'call-failed', 'The call failed');
      return body as T;
    } finally {
      forget();
    }
  }

  async function watch(
    kind: string,
    undo: string,
    to: Address,
    options: MonitorOptions = {},
  ): Promise<{ told: Promise<Down>; stop(options?: RequestOptions): Promise<void> }> {
    const { onState, grace } = options;
    const asks = { states: onState && true, grace };
    const { members, letter, answer, asked, forget } = await ask(
      kind,
      to,
      asks,
      undefined,
      onState,
    );
    try {
      await post(wire, { letter }, options, accepted => Promise.race([accepted, answer]));
    } catch (error) {
      forget();
      throw error;
    }
    const told = answer.then(({ body }) => body as Down);
    told.catch(() => {});
    return {
      told,
      async stop(options) {
        const one = asked();
        // What was told already needs no taking back.
        if (!one) return;
        one.onState = undefined;
        await post(wire, { letter: letterOf({ kind: undo, ...members }, null) }, options);
        forget();
      },
    };
  }

  return {
    call,

    async monitor(to, options): Promise<Monitor> {
      const { told, stop } = await watch('monitor', 'demonitor', to, options);
      return { down: told, stop };
    },

    async link(to, options): Promise<Link> {
      const { told, stop } = await watch('link', 'unlink', to, options);
      return { exited: told, unlink: stop };
    },

    take(envelope) {
      const { kind, ref = '' } = envelope;
      if (kind == 'message') return false;
      if (kind == 'state') {
        const { state } = envelope.body as { state: 'connected' };
        tell(waiting.get(ref)?.onState, state);
        return true;
      }
      const answers = /^(reply|failure|down)$/.test(kind);
      // That of another's link is the program's.
      if (!answers && !(kind == 'exited' && ref.startsWith(mine))) return false;
      waiting.get(ref)?.resolve(envelope);
      waiting.delete(ref);
      return true;
    },

    end(error) {
      ended = error;
      for (const { reject } of waiting.values()) reject(error);
      waiting.clear();
    },
  };
}

export function random(bytes: number): string {
  return encode([...globalThis.crypto.getRandomValues(new Uint8Array(bytes))]);
}
