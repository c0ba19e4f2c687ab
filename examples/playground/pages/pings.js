/**
 * Pings and pongs, for both windows:
 *
 *     {"type":"ping","id":ID,"from":ADDRESS}   goes to whom one wants to hear from
 *     {"type":"pong","id":ID}                  comes back to that address
 */
import { GenBrowserError, isAddress } from '/_gb/client.js';
import { milliseconds } from './latencies.js';
import { nameOf } from './page.js';

/** Seconds until a ping that nobody answered is given up, and dropped by the server if nobody read it. */
const PATIENCE = 60;

export function createPings(client, log, latencies) {
  const waiting = new Map(); // ids of pings, and what takes the pong
  // Pongs for the page that was here before a reload are not for this one.
  const page = Date.now().toString(36);
  let count = 0;

  return {
    /** Sends a ping, and returns how many milliseconds the pong took. */
    async ping(to, name) {
      const id = `${page}-${++count}`;
      const note = log.add('ping', `to ${name}`, 'waiting');
      const begin = performance.now();
      const pong = new Promise((resolve, reject) => {
        waiting.set(id, resolve);
        setTimeout(() => reject(new GenBrowserError('timeout', 'No answer')), PATIENCE * 1000);
      });
      try {
        const message = { type: 'ping', id, from: client.address };
        await Promise.all([pong, client.send(to, message, { ttl: PATIENCE })]);
        const ms = (await pong) - begin;
        latencies.add(ms);
        note(milliseconds(ms));
        return ms;
      } catch (error) {
        note(error.detail, 'failed');
        throw error;
      } finally {
        waiting.delete(id);
      }
    },

    /** Takes a message if it is a pong for one of these pings, or a ping to answer. */
    take(message) {
      if (message?.type == 'pong' && waiting.has(message.id)) {
        waiting.get(message.id)(performance.now());
        return 'pong';
      }
      if (message?.type == 'ping' && isAddress(message.from)) {
        answer(message);
        return 'ping';
      }
      return undefined;
    },
  };

  async function answer({ id, from }) {
    const note = log.add('pong', nameOf('to', from), 'sending');
    const begin = performance.now();
    try {
      await client.send(from, { type: 'pong', id });
      note(`sent in ${milliseconds(performance.now() - begin)}`);
    } catch (error) {
      note(error.detail, 'failed');
    }
  }
}
