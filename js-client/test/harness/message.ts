/** The message of all benchmarks: 160 bytes of JSON. */
export const MESSAGE = {
  from: 'gba_'.padEnd(55, 'x'),
  type: 'chat',
  text: 'Hello, world! '.repeat(5),
};
