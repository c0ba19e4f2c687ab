// The suite in a page: the tests of test/chromium.test.ts run its cases by their names.
import { type Case, runCase } from '../suite/context.js';
import { registerTests } from '../suite/index.js';

const cases = new Map<string, Case>();
registerTests((name, run) => cases.set(name, run));

Object.assign(globalThis, {
  runCase: (name: string, control: string, server: string) =>
    runCase(cases.get(name) as Case, control, server),

  runInWorker: (name: string, control: string, server: string) =>
    new Promise<void>((resolve, reject) => {
      const worker = new Worker('/worker.js', { type: 'module' });
      worker.onmessage = ({ data }) => {
        worker.terminate();
        if (data) reject(new Error(data));
        else resolve();
      };
      worker.onerror = event => reject(new Error(event.message));
      worker.postMessage({ name, control, server });
    }),
});
