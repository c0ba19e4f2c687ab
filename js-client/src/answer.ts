import { GenBrowserError, messageOf } from './errors.js';
import { ENDED, letterOf, post } from './line.js';
import { type Arrival, assertHandler } from './mailbox.js';
import type { Wire } from './request.js';
import type { Client, Envelope, Handler, RequestOptions } from './types.js';

/** Answers the calls of others. */
export interface Answers extends Pick<Client, 'reply' | 'fail' | 'serve'> {
  /** Whether the message is a call, and somebody serves them. */
  take(arrival: Arrival): boolean;
}

/**
 * @param assertOpen throws once the client is closed.
 * @param waiting takes the calls that wait in the mailbox.
 * @param taken is told of each call that was answered.
 */
export function createAnswers(
  wire: Wire,
  assertOpen: () => void,
  waiting: () => readonly Arrival[],
  taken: (arrival: Arrival) => void,
): Answers {
  let handler: Handler | undefined;

  async function answer(
    call: Envelope,
    kind: string,
    message: unknown,
    options: RequestOptions | undefined,
  ): Promise<void> {
    assertOpen();
    const { ref, reply: to } = Object(call) as Envelope;
    if (!to) throw new GenBrowserError('not-a-reply-address', 'Only a call can be answered');
    // A call has one answer: the ref is a name for it.
    const letter = letterOf({ to, kind, id: `${ref}`, ref }, message);
    return post(wire, { letter, done: ['replied', ...ENDED], answers: true }, options);
  }

  const reply: Answers['reply'] = async (call, value = null, options) =>
    answer(call, 'reply', value, options);

  const fail: Answers['fail'] = async (call, error, options) => {
    const known = error instanceof GenBrowserError ? error : undefined;
    const problem = {
      type: `urn:gen-browser:${known?.code ?? 'call-failed'}`,
      title: 'The call failed',
      status: known?.status ?? (known?.code == 'refused' ? 422 : 502),
      detail: messageOf(error),
    };
    return answer(call, 'failure', problem, options);
  };

  async function serveOne(handle: Handler, arrival: Arrival) {
    const { envelope } = arrival;
    // The first call comes after serve() returned, as all the others do.
    await undefined;
    try {
      await reply(envelope, await handle(envelope.body, envelope));
    } catch (error) {
      // What went wrong elsewhere, in a call of the handler perhaps, is not this client's end or whatever it says.
      const refused = error instanceof GenBrowserError && error.code == 'refused';
      // The caller may be gone, or tired of waiting.
      await fail(envelope, refused ? error : messageOf(error)).catch(() => {});
    }
    taken(arrival);
  }

  return {
    reply,
    fail,
    serve(fn) {
      if (handler) throw new GenBrowserError('busy', 'Calls are served already');
      assertHandler(fn);
      const serving = fn as Handler;
      handler = serving;
      for (const arrival of waiting()) serveOne(serving, arrival);
      return () => {
        if (handler == serving) handler = undefined;
      };
    },
    take(arrival) {
      if (!handler || arrival.envelope.kind != 'call') return false;
      serveOne(handler, arrival);
      return true;
    },
  };
}
