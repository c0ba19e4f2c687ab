// Builds dist/ from src/. The same sources give the same bytes: CI checks that dist/ is what they build to.
import { readFile, rm } from 'node:fs/promises';
import { build } from 'esbuild';

const root = new URL('../../', import.meta.url);
const { name, version, license } = JSON.parse(
  await readFile(new URL('package.json', root), 'utf8'),
);

// Only the types: their files come and go with the sources, and the server embeds the others.
await rm(new URL('js-client/dist/types/', root), { recursive: true, force: true });

const options = {
  absWorkingDir: new URL('.', root).pathname,
  bundle: true,
  minify: true,
  target: 'es2022',
  tsconfig: 'tsconfig.json',
  charset: 'utf8',
  banner: { js: `/* ${name} ${version}, ${license} */` },
};
await build({
  ...options,
  entryPoints: ['js-client/src/index.ts'],
  format: 'esm',
  outfile: 'js-client/dist/client.js',
});
await build({
  ...options,
  entryPoints: ['js-client/src/global.ts'],
  format: 'iife',
  outfile: 'js-client/dist/client.global.js',
});
