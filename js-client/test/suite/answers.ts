// What answers in the place of the server.

/** A fetch that asks first whether something else answers. */
export function instead(
  answer: (request: { url: string; body: string }) => Response | undefined,
): typeof fetch {
  return async (input, init) =>
    answer({ url: String(input), body: String(init?.body) }) ?? fetch(input, init);
}

export function page(status: number): Response {
  return new Response('<p>Log in', { status, headers: { 'content-type': 'text/html' } });
}

export function problem(status: number, code: string, headers = {}): Response {
  return new Response(JSON.stringify({ type: `urn:gen-browser:${code}`, status }), {
    status,
    headers: { 'content-type': 'application/problem+json', ...headers },
  });
}
