// What must not compile, held by tsc: each @ts-expect-error fails the check if its line does compile.
import {
  type Address,
  attenuate,
  type Client,
  type Down,
  type Envelope,
  isAddress,
  type Link,
  type MailboxKey,
  type Monitor,
  type Status,
} from 'gen-browser';

export async function types(client: Client<{ greeting: string }>, text: string): Promise<void> {
  const greeting: string = client.config.greeting;

  // @ts-expect-error A string is not an address until isAddress says so.
  await client.send(text, greeting);
  if (isAddress(text)) await client.send(text, greeting);

  // @ts-expect-error A key is not an address: it would hand the mailbox to whoever gets it.
  await client.send(client.key, greeting);
  // @ts-expect-error An address is not a key.
  const key: MailboxKey = client.address;

  const narrowed: Address = await attenuate(client.address, { rights: ['send'] });
  // @ts-expect-error A narrowed key may still be a key.
  const address: Address = await attenuate(client.key, { rights: ['send'] });
  // @ts-expect-error There is no such right.
  await attenuate(client.address, { rights: ['fly'] });

  const typed: { from: Address } = await client.mailbox.receive<{ from: Address }>();
  client.mailbox.handle<number>((body, envelope: Envelope<number>) => body + envelope.body);

  const { sum } = await client.call<{ sum: number }>(client.address, [1, 2], { timeout: 100 });
  // @ts-expect-error A string is not an address, for a call either.
  await client.call(text, sum);
  const stop: () => void = client.serve<number>(async (n, call: Envelope<number>) => n + call.body);
  const monitor: Monitor = await client.monitor(client.address);
  const { reason }: Down = await monitor.down;
  if (reason == 'exit') stop();
  const link: Link = await client.link(client.address, { signal: AbortSignal.abort() });
  // @ts-expect-error What is monitored goes down, what is linked exits.
  link.down;
  const found = await client.whereis('lobby');
  // @ts-expect-error There may be no such process.
  await client.exit(found, { why: 'enough' });
  if (found) await client.exit(found, { why: 'enough' });
  await attenuate(client.address, { rights: ['send'], reply: 'r1' });

  const status: Status = client.status;
  if (status.state == 'closed' && status.reason == 'error') throw status.error;
  // @ts-expect-error Only a closed client has a reason.
  status.reason;
  // @ts-expect-error What a client knows is read, not set.
  client.address = narrowed;

  void [key, address, typed];
}
