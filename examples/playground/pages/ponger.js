/** The second window: it says hello to the address in its link, and answers what that pings. */
import { isAddress } from '/_gb/client.js';
import { createLatencies, milliseconds } from './latencies.js';
import { createLog } from './log.js';
import { announce, byId, enableCopying, nameOf, openMailbox, showNotice } from './page.js';
import { createPings } from './pings.js';

const log = createLog(byId('log'));
const client = await openMailbox('ponger', log);
const pings = createPings(client, log, createLatencies());
let answered = 0;

client.mailbox.handle((message, { via }) => {
  const taken = pings.take(message);
  if (taken == 'ping') byId('answered').textContent = ++answered;
  else if (!taken) log.add('message', JSON.stringify(message), via?.join(', '));
});

byId('clear').onclick = log.clear;
enableCopying();

const pinger = location.hash.slice(1);
addEventListener('hashchange', () => location.reload());
if (isAddress(pinger)) join();
else ask();

async function join() {
  byId('pong').hidden = false;
  byId('pinger').textContent = nameOf('pinger', pinger);
  byId('ping').onclick = ping;
  addEventListener('pagehide', () =>
    client.send(pinger, { type: 'bye', from: client.address }, { keepalive: true }).catch(() => {}),
  );
  addEventListener('pageshow', event => event.persisted && hello());
  await hello();
  byId('ping').disabled = false;
}

async function hello() {
  const note = log.add('hello', nameOf('to', pinger), 'sending');
  try {
    await client.send(pinger, { type: 'hello', from: client.address });
    note('sent');
  } catch (error) {
    note('failed', 'failed');
    showNotice(`The pinger cannot be reached: ${error.detail}.`, 'Say hello again', () =>
      location.reload(),
    );
  }
}

async function ping() {
  try {
    announce(`Pong after ${milliseconds(await pings.ping(pinger, nameOf('pinger', pinger)))}`);
  } catch (error) {
    announce(`The ping failed: ${error.detail}`);
  }
}

/** Lets a person paste the address that is missing in the link. */
function ask() {
  const form = byId('join');
  const input = form.elements.address;
  const error = byId('join-error');
  form.hidden = false;
  const complain = text => {
    error.textContent = text;
    input.setAttribute('aria-invalid', 'true');
    input.focus();
  };
  if (pinger) complain('The link holds no address. It may have been cut off: copy it again.');
  form.onsubmit = event => {
    event.preventDefault();
    const given = input.value.trim().split('#').pop();
    if (isAddress(given)) location.hash = given;
    else if (given.startsWith('gbk_'))
      complain('This is a mailbox key, which is a secret. Paste the address: it begins with gba_.');
    else
      complain(
        'This is not an address: those begin with gba_ and come from the pinger’s Copy button.',
      );
  };
}
