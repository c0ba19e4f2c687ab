// Builds pages/qr.js: the QR codes of the npm package uqr, as a module that the pages load from their own origin.
import { readFile } from 'node:fs/promises';
import { build } from 'esbuild';

const root = new URL('../../../', import.meta.url).pathname;
const licence = await readFile(`${root}node_modules/uqr/LICENSE`, 'utf8');
const { version } = JSON.parse(await readFile(`${root}node_modules/uqr/package.json`, 'utf8'));

await build({
  absWorkingDir: root,
  stdin: { contents: "export { encode } from 'uqr';", resolveDir: root },
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  charset: 'utf8',
  banner: { js: `/* Made by "npm run build:playground" from uqr ${version}.\n\n${licence}*/` },
  outfile: 'examples/playground/pages/qr.js',
});
