// What must not compile, held by tsc: each @ts-expect-error fails the check if its line does compile.
import {
  type Address,
  attenuate,
  type Client,
  type Envelope,
  isAddress,
  type MailboxKey,
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

  const status: Status = client.status;
  if (status.state == 'closed' && status.reason == 'error') throw status.error;
  // @ts-expect-error Only a closed client has a reason.
  status.reason;
  // @ts-expect-error What a client knows is read, not set.
  client.address = narrowed;

  void [key, address, typed];
}
