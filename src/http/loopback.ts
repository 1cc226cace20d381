/** A name or an address as a URL has it, in which nothing else can hide. */
const HOST = /^(?:\[[\da-f:.]+\]|[\w.-]+)$/i;
const LOOPBACK = /^(?:127(?:\.\d+){3}|\[::1\]|\[::ffff:7f[\da-f]{2}:[\da-f]{1,4}\]|localhost\.?)$/;
const SUBDOMAIN = /\.localhost\.?$/;
const PORT = /:\d{0,5}$/;

/** Whether only programs of this machine reach what listens on `host`: `localhost` or an IP address, however it is written. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(canonical(host.includes(":") ? `[${host}]` : host));
}

/**
 * Whether a Host header (`:authority`), with or without a port, can only mean this machine: no domain name that somebody
 * owns does, whatever address it has at the moment. Names below `localhost` do (RFC 6761).
 */
export function isLoopbackAuthority(authority: string): boolean {
  const host = canonical(authority.replace(PORT, ""));
  return LOOPBACK.test(host) || SUBDOMAIN.test(host);
}

/** A host as browsers send it, such as `127.0.0.1` for `127.1`; "" for what is none. */
function canonical(host: string): string {
  const url = HOST.test(host) ? `http://${host}` : "";
  return URL.canParse(url) ? new URL(url).hostname : "";
}
