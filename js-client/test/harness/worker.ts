// The suite in a worker, which has neither a document nor a storage.
import { type Case, runCase } from '../suite/context.js';
import { registerTests } from '../suite/index.js';

const cases = new Map<string, Case>();
registerTests((name, run) => cases.set(name, run));

addEventListener('message', async ({ data: { name, control, server } }) => {
  try {
    await runCase(cases.get(name) as Case, control, server);
    postMessage('');
  } catch (error) {
    postMessage(error instanceof Error ? `${error.message}\n${error.stack}` : String(error));
  }
});
