// Fails if the client is above what a page should have to load: 8 KiB, minified and compressed.
import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';

const LIMIT = 8 * 1024;

for (const file of ['client.js', 'client.global.js']) {
  const code = await readFile(new URL(`../dist/${file}`, import.meta.url));
  const size = gzipSync(code, { level: 9 }).length;
  console.log(`${file}: ${code.length} bytes, ${size} after gzip, of ${LIMIT}`);
  if (size > LIMIT) process.exitCode = 1;
}
