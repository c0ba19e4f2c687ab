// Random JSON values, the same ones for the same seed.

/** mulberry32 */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const PIECES = [
  ...['"', '\\', '/', '\b', '\f', '\n', '\r', '\t', '\0', '\x1f', '\x7f', '\x85', '\xa0'],
  ...[
    '\r\n',
    '\n\n',
    'data: ',
    '\ndata: x\n\n',
    'event: bye',
    'id: 1\n',
    ':',
    ' ',
    '{}',
    '\\u0000',
  ],
  ...[
    '\u2028',
    '\u2029',
    '\ufeff',
    '\ufffd',
    '\uffff',
    'é',
    'ß',
    'ø',
    '漢',
    '😀',
    '👩‍👩‍👧',
    '\u202e',
  ],
  // Surrogates without their other half.
  ...['\ud800', '\udfff', '\udc00\ud800'],
  ...['a', 'type', '__proto__', 'constructor', 'toString', '</script>', '%00', '+'],
];

const NUMBERS = [
  ...[0, 1, -1, 0.1, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 2 ** 53, -(2 ** 53) + 1],
  ...[123456.789, 1 / 3, -1e-300],
];

export function randomValue(next: () => number, depth = 4): unknown {
  const upTo = (most: number) => Math.floor(next() * most);
  const text = () => Array.from({ length: upTo(6) }, () => PIECES[upTo(PIECES.length)]).join('');
  const kind = upTo(depth ? 9 : 6);
  if (kind == 0) return [null, true, false, '', 0][upTo(5)];
  if (kind == 1) return NUMBERS[upTo(NUMBERS.length)];
  if (kind == 2) return (next() - 0.5) * 10 ** upTo(30);
  if (kind < 6) return text();
  if (kind == 6) return Array.from({ length: upTo(5) }, () => randomValue(next, depth - 1));
  // From entries, so that a member may be called __proto__.
  return Object.fromEntries(
    Array.from({ length: upTo(5) }, () => [text(), randomValue(next, depth - 1)]),
  );
}

/** Arrays and objects within each other, so many levels deep. */
export function nested(depth: number): unknown {
  let value: unknown = 'bottom';
  for (let level = 0; level < depth; level++) value = level % 2 ? [value] : { n: value };
  return value;
}
