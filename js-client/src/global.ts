// The entry of the script that defines the global GenBrowser, for pages that load it by <script src>.
import { attenuate, GenBrowserError, isAddress, start } from './index.js';

Object.assign(globalThis, { GenBrowser: { GenBrowserError, attenuate, isAddress, start } });
