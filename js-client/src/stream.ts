import { GenBrowserError } from './errors.js';
import { createParser, type StreamEvent } from './events.js';
import { asNetworkError, readerHeaders, request } from './request.js';
import type { Bye, Transport } from './transport.js';

/**
 * Reads a mailbox as an event stream. Native EventSource is not used: it can't send the key in a header, and keeps
 * the status of a refusal to itself.
 */
export const stream: Transport = async (wire, { key, cursor }, listener, signal) => {
  let bye: Bye | undefined;

  function onEvent({ event, data, id }: StreamEvent) {
    try {
      const value = JSON.parse(data);
      if (!event) listener.message({ kind: 'message', body: value }, data.length, id);
      else if (event == 'envelope')
        listener.message({ kind: 'message', ...value }, data.length, id);
      else if (event == 'init') listener.open(value);
      else if (event == 'gap') listener.gap(value.missing);
      else if (event == 'bye') bye = value;
    } catch (error) {
      // A server never sends what is not JSON; if one did, the messages after it must come all the same.
      listener.error(error);
    }
    // The parser tells of an event when the blank line came that ends it, so that a cut event moves nothing.
    if (id) listener.cursor(id);
  }

  const response = await request(wire, key ? '/mailbox?ack=manual' : '/mailbox?new&ack=manual', {
    headers: readerHeaders('text/event-stream', key, cursor),
    cache: 'no-store',
    signal,
  });
  const { body, headers, status } = response;
  if (!body || !headers.get('content-type')?.startsWith('text/event-stream'))
    throw new GenBrowserError('unexpected-answer', 'The answer is not an event stream', undefined, {
      status,
    });

  const parse = createParser(onEvent);
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return bye;
      listener.alive();
      parse(decoder.decode(value, { stream: true }));
      // The program closed the client while it took these messages, or the server said that this is all.
      if (signal.aborted || bye) return bye;
    }
  } catch (cause) {
    throw asNetworkError(cause, signal);
  }
};
