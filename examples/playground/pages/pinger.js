/** The first window: it has an address, invites others to write to it, and pings whoever said hello. */
import { isAddress } from '/_gb/client.js';
import { createLatencies, milliseconds } from './latencies.js';
import { createLog } from './log.js';
import { announce, byId, enableCopying, nameOf, openMailbox } from './page.js';
import { createPings } from './pings.js';
import { drawQrCode } from './qrcode.js';

const log = createLog(byId('log'));
const latencies = createLatencies();
const client = await openMailbox('pinger', log);
const pings = createPings(client, log, latencies);

// Whom to ping: the logger of every playground, and the pongers that said hello.

const MOST = 8; // anybody who has the address may say hello
const pongers = new Set(
  client.resumed ? JSON.parse(sessionStorage.getItem('pongers') ?? '[]') : [],
);
document.querySelector('[name=target]').value = client.config.logger;
for (const address of pongers) offer(address);

function welcome(address) {
  if (pongers.has(address)) return;
  const [oldest] = pongers;
  if (pongers.size == MOST) forget(oldest, 'makes room');
  pongers.add(address);
  remember();
  offer(address).checked = true;
  log.add('hello', `${nameOf('ponger', address)} has joined`);
  announce('A ponger has joined');
}

function forget(address, why) {
  if (!pongers.delete(address)) return;
  remember();
  const choice = document.querySelector(`[name=target][value="${address}"]`);
  const logger = document.querySelector('[name=target]');
  if (choice.checked) logger.checked = true;
  if (choice == document.activeElement) logger.focus();
  choice.parentElement.remove();
  log.add('hello', `${nameOf('ponger', address)} ${why}`);
  announce(`A ponger ${why}`);
}

function remember() {
  sessionStorage.setItem('pongers', JSON.stringify([...pongers]));
}

function offer(address) {
  const choice = document.createElement('input');
  choice.type = 'radio';
  choice.name = 'target';
  choice.value = address;
  const label = document.createElement('label');
  label.append(choice, nameOf('ponger', address));
  byId('targets').append(label);
  return choice;
}

client.mailbox.handle((message, { via }) => {
  if (pings.take(message)) return;
  if (message?.type == 'hello' && isAddress(message.from)) welcome(message.from);
  else if (message?.type == 'bye') forget(message.from, 'has left');
  else log.add('message', JSON.stringify(message), via?.join(', '));
});

// The ping button, and the switch that presses it every second.

async function ping() {
  const choice = document.querySelector('[name=target]:checked');
  try {
    return await pings.ping(choice.value, choice.parentElement.textContent);
  } catch (error) {
    if (error.status == 410) forget(choice.value, 'is gone');
    return undefined;
  } finally {
    byId('count').textContent = latencies.count;
  }
}

let timer;
byId('auto').onchange = event => {
  clearInterval(timer);
  if (!event.target.checked) return;
  ping();
  timer = setInterval(() => client.status.state == 'open' && ping(), 1000);
};

byId('ping').onclick = async () => {
  const ms = await ping();
  announce(ms === undefined ? 'The ping failed' : `Pong after ${milliseconds(ms)}`);
};
byId('clear').onclick = log.clear;
byId('ping').disabled = byId('auto').disabled = false;

// The ways in: a link for a second window, and commands for everything else.

const ponger = new URL(`ponger.html#${client.address}`, location.href).href;
byId('ponger').href = byId('link').textContent = ponger;
drawQrCode(byId('qr'), ponger);
byId('host').textContent = location.hostname;
byId('loopback').hidden = !/^(localhost|127\..*|\[::1\])$/.test(location.hostname);

byId('curl').textContent =
  `curl --json '{"hello":"from curl"}' ${location.origin}/_gb/send/${client.address}`;
byId('genbrowser').textContent =
  `genbrowser send ${location.origin} ${client.address} '{"hello":"from a terminal"}'`;
byId('go').textContent = `package main

import (
	"context"
	"log"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
)

func main() {
	c, err := client.New("${location.origin}", client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	to, err := address.Parse("${client.address}")
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Send(context.Background(), to, "hello from Go"); err != nil {
		log.Fatal(err)
	}
}
`;
enableCopying();
