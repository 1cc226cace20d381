import { isIP } from "node:net";

/** A name or an address as a URL has it, in which nothing else can hide. */
const HOST = /^(?:\[[\da-f:.]+\]|[\w.-]+)$/i;
const LOOPBACK = /^(?:127(?:\.\d+){3}|\[::1\]|\[::ffff:7f[\da-f]{2}:[\da-f]{1,4}\]|localhost\.?)$/;
const SUBDOMAIN = /\.localhost\.?$/;
const PORT = /:\d{0,5}$/;

/** Whether only programs of this machine reach what listens on `host`: `localhost` or an IP address, however it is written. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(canonical(host.includes(":") ? `[${host}]` : host));
}

/** The host of a Host header (`:authority`), with or without a port, as browsers send it; "" for what is none. */
export function hostOf(authority: string): string {
  return canonical(authority.replace(PORT, ""));
}

/**
 * Whether a host, of `hostOf`, can only mean this machine: no domain name that somebody owns does, whatever address it has
 * at the moment. Names below `localhost` do (RFC 6761).
 */
export function isLoopbackName(host: string): boolean {
  return LOOPBACK.test(host) || SUBDOMAIN.test(host);
}

/** Whether a host, of `hostOf`, is an IP address or a name without a dot: somebody who owns a domain cannot give it an address. */
export function isNobodysDomain(host: string): boolean {
  return host !== "" && (isIP(host.replace(/^\[|\]$/g, "")) !== 0 || !host.includes("."));
}

/** A host as browsers send it, such as `127.0.0.1` for `127.1`; "" for what is none. */
function canonical(host: string): string {
  const url = HOST.test(host) ? `http://${host}` : "";
  return URL.canParse(url) ? new URL(url).hostname : "";
}
