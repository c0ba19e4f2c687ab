import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: fileURLToPath(new URL('.', import.meta.url)),
    include: ['test/*.test.ts'],
    benchmark: { include: ['test/*.bench.ts'] },
    globalSetup: 'test/harness/setup.ts',
    // They share one server, and some of them count on having the processor for themselves.
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 180_000,
  },
});
