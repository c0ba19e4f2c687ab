export { attenuate, isAddress, type Restriction, type Right } from './address.js';
export { type ErrorCode, GenBrowserError } from './errors.js';
export { start } from './start.js';
export type * from './types.js';
