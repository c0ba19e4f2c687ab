// Assertions that run anywhere.
import { type ErrorCode, GenBrowserError } from 'gen-browser';

export function ok(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`This does not hold: ${what}`);
}

/** Compares JSON values: -0 is 0, and the order of an object's members does not count. */
export function equal(got: unknown, want: unknown): void {
  if (!same(got, want)) throw new Error(`got ${show(got)}\nwant ${show(want)}`);
}

function same(a: unknown, b: unknown): boolean {
  if (typeof a != 'object' || typeof b != 'object' || !a || !b) return a === b;
  if (Array.isArray(a) != Array.isArray(b)) return false;
  const [left, right] = [Object.entries(a), Object.keys(b)];
  return (
    left.length == right.length &&
    left.every(([key, value]) => Object.hasOwn(b, key) && same(value, b[key as keyof typeof b]))
  );
}

function show(value: unknown): string {
  const text = value instanceof Error ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 500 ? `${text.slice(0, 500)}…` : text;
}

/** The typed error that a promise rejects with. */
export async function rejects(
  promise: Promise<unknown>,
  code: ErrorCode,
): Promise<GenBrowserError> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    if (!(error instanceof GenBrowserError)) throw error;
    equal({ code: error.code, detail: error.detail }, { code, detail: error.detail });
    return error;
  }
  throw new Error(`It resolved with ${show(value)}, want a rejection with ${code}`);
}

/** The typed error that a call throws. */
export async function throws(call: () => void, code: ErrorCode): Promise<GenBrowserError> {
  return rejects(
    new Promise<void>(resolve => {
      call();
      resolve();
    }),
    code,
  );
}

/** Waits until a condition holds; the test's own time limit ends it. */
export async function until(condition: () => unknown): Promise<void> {
  while (!(await condition())) await new Promise(resolve => setTimeout(resolve, 5));
}
