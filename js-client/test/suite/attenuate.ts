import { type Address, attenuate, isAddress, type MailboxKey, type Restriction } from 'gen-browser';
import { equal, ok, rejects } from './assert.js';
import type { Register } from './context.js';

interface Vectors {
  readonly tokens: readonly {
    readonly name: string;
    readonly text: string;
    readonly parent: string;
    readonly restriction?: Restriction;
  }[];
  readonly malformed: readonly { readonly name: string; readonly text: string }[];
}

export function attenuateCases(test: Register): void {
  test('attenuate gives what the vectors say', async t => {
    const { tokens } = await t.vectors<Vectors>();
    let derived = 0;
    for (const { name, text, parent, restriction } of tokens) {
      equal([name, isAddress(text)], [name, text.startsWith('gba_')]);
      if (!parent || !restriction) continue;
      derived++;
      equal([name, await attenuate(parent as Address, restriction)], [name, text]);
    }
    ok(derived >= 8, `${derived} vectors are enough`);
  });

  test('attenuate refuses what is no capability', async () => {
    for (const text of [
      '',
      'gba_',
      'gbx_AAAA',
      `gba_${'A'.repeat(600)}`,
      'gba_AA==',
      'x'.repeat(55),
    ])
      await rejects(attenuate(text as Address, {}), 'malformed-address');
  });

  test('attenuate refuses restrictions without a meaning', async t => {
    const { address } = await t.start();
    const wrong: Restriction[] = [
      { rights: ['sned' as 'send'] },
      { expires: -1 },
      { expires: 1.5 },
      { expires: Date.now() },
      { expires: new Date(Number.NaN) },
      { maxBytes: -1 },
      { maxBytes: 2 ** 48 },
      { types: [] },
      { types: ['x'.repeat(255)] },
      { label: '' },
      { label: 'x'.repeat(65) },
      { label: 'a\nb' },
      { reply: '' },
      { reply: 'a b' },
      { reply: 'é' },
      { reply: 'x'.repeat(129) },
    ];
    for (const restriction of wrong) {
      const error = await rejects(attenuate(address, restriction), 'malformed-restriction');
      ok(error.detail.length > 0, 'there is a detail');
    }
  });

  test('attenuate adds at most 16 restrictions', async t => {
    let { address } = await t.start();
    // Its rights are the first.
    for (let count = 1; count < 16; count++) address = await attenuate(address, { label: 'x' });
    await rejects(attenuate(address, { label: 'x' }), 'malformed-restriction');
  });

  test('attenuate turns a key into an address when it takes the owner’s rights', async t => {
    const { key, address } = await t.start();
    equal(await attenuate(key, { rights: ['send', 'call', 'monitor', 'link'] }), address);
    ok(isAddress(await attenuate(key, { rights: ['send'] })), 'it may only send');
    const reader = await attenuate(key, { rights: ['send', 'read'] });
    ok(!isAddress(reader), 'it may read');
    ok(isAddress(await attenuate(reader as MailboxKey, { rights: ['send'] })), 'and no more');
  });

  test('the server enforces each restriction', async t => {
    const client = await t.start();
    const send = (to: Address, message: unknown = 1) => client.send(to, message);
    const narrow = (restriction: Restriction) => attenuate(client.address, restriction);

    await send(await narrow({ rights: ['send'] }));
    await rejects(send(await narrow({ rights: ['call'] })), 'missing-right');
    await rejects(send(await narrow({ rights: [] })), 'missing-right');
    await send(await narrow({ expires: new Date(Date.now() + 60_000) }));
    await rejects(
      send(await narrow({ expires: new Date(Date.now() - 2_000) })),
      'capability-expired',
    );
    await send(await narrow({ maxBytes: 1 }));
    await rejects(send(await narrow({ maxBytes: 1 }), 10), 'too-large');
    await send(await narrow({ types: ['a', 'bc'] }), { type: 'bc' });
    await rejects(send(await narrow({ types: ['a', 'bc'] }), { type: 'b' }), 'type-not-allowed');
    const labelled = await attenuate(await narrow({ label: 'first' }), { label: 'zweite ✓' });
    await send(labelled);
    for (let n = 0; n < 4; n++) await client.mailbox.receive();
    const { via } = await client.mailbox.receiveEnvelope();
    equal(via, ['first', 'zweite ✓']);
  });

  test('nobody widens what was narrowed', async t => {
    const client = await t.start();
    const narrowed = await attenuate(client.address, { rights: ['call'] });
    await rejects(client.send(await attenuate(narrowed, { rights: ['send'] }), 1), 'missing-right');
    // The tag is the last 16 bytes: an address cannot be put together from parts.
    const patched = client.address.slice(0, -22) + narrowed.slice(-22);
    await rejects(client.send(patched as Address, 1), 'invalid-capability');
  });
}
