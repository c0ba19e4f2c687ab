import type { TestProject } from 'vitest/node';
import { startControl } from './control.js';

declare module 'vitest' {
  interface ProvidedContext {
    control: string;
    server: string;
  }
}

/** Starts what all tests share: the control server, and one server of the real program. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const control = await startControl();
  const answer = await fetch(control.url, {
    method: 'POST',
    body: JSON.stringify({ do: 'serve', flags: ['--heartbeat', '1s'] }),
  });
  if (!answer.ok) throw new Error(await answer.text());
  project.provide('control', control.url);
  project.provide('server', await answer.json());
  return control.close;
}
