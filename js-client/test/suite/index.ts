import { attenuateCases } from './attenuate.js';
import { callCases } from './call.js';
import type { Register } from './context.js';
import { deathCases } from './death.js';
import { faultCases } from './faults.js';
import { lostCases } from './lost.js';
import { mailboxCases } from './mailbox.js';
import { networkCases } from './network.js';
import { resumeCases } from './resume.js';
import { sendCases } from './send.js';
import { startCases } from './start.js';
import { watchCases } from './watch.js';

/** The one suite: runs wherever the client does, against the real server. */
export function registerTests(register: Register): void {
  startCases(register);
  mailboxCases(register);
  sendCases(register);
  resumeCases(register);
  deathCases(register);
  networkCases(register);
  faultCases(register);
  attenuateCases(register);
  callCases(register);
  lostCases(register);
  watchCases(register);
}
