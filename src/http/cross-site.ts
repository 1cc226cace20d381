import { QuiverError, quote } from "../errors.ts";
import type { HttpRequest } from "../node-http.ts";
import { hostOf, isLoopbackName, isNobodysDomain } from "./loopback.ts";

export interface CrossSiteOptions {
  /** Whether the server lets in whoever reaches it, so that it must not be reached by what a browser does for a page. */
  isOpen(): boolean;
  /** Names, without a port, by which it may be called besides those of its own machine; `*` is every name. */
  readonly hosts: readonly string[];
  /** Whether other machines call it: by addresses, or by names without a dot, which nobody can own. */
  readonly isBeyondLoopback: boolean;
  /** Of the server itself. */
  readonly scheme: "http" | "https";
  /** Origins whose pages may call; `*` is every origin. */
  readonly corsOrigins: readonly string[];
}

/** Why a request is refused; undefined: it is not. */
export type CrossSiteCheck = (request: HttpRequest) => QuiverError | undefined;

/** What Sec-Fetch-Site says of requests that no other site has caused. */
const OWN_SITE: ReadonlySet<unknown> = new Set([undefined, "same-origin", "none"]);

const WITH_A_KEY = "or make an access key with `quiver keys create`";

/**
 * Keeps web pages away from a server without access keys: a browser on its machine reaches it for any page. It answers
 * HOST_REFUSED for a page whose domain name was given the address of this machine (DNS rebinding), and
 * ORIGIN_REFUSED for a page of another origin, even if that could not read the answer. Programs other than browsers send
 * neither Origin nor Sec-Fetch-Site.
 */
export function createCrossSiteCheck({
  isOpen,
  hosts,
  isBeyondLoopback,
  scheme,
  corsOrigins,
}: CrossSiteOptions): CrossSiteCheck {
  const allows = (origin: string) => corsOrigins.includes(origin) || corsOrigins.includes("*");
  // Clients name the server as the one before, as a rule.
  let lastOwn: string | undefined;
  const isOwnName = (name: string) => {
    if (name === lastOwn) return true;
    const host = hostOf(name);
    const isOwn = isLoopbackName(host) || (isBeyondLoopback && isNobodysDomain(host));
    if (!isOwn && !hosts.includes(host) && !hosts.includes("*")) return false;
    lastOwn = name;
    return true;
  };

  return ({ headers }) => {
    if (!isOpen()) return undefined;
    const { ":authority": authority, host = authority, origin, "sec-fetch-site": site } = headers;
    for (const name of [authority, host]) {
      if (name !== undefined && !isOwnName(`${name}`)) return hostRefused(`${name}`);
    }
    if (origin === undefined) return OWN_SITE.has(site) || allows("*") ? undefined : originRefused(`${site}`);
    const isOwn = host !== undefined && origin === originOf(`${scheme}://${host}`);
    return isOwn || allows(origin) ? undefined : originRefused(origin);
  };
}

/** "" for what is no URL: a port may be too high. */
function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : "";
}

function hostRefused(host: string): QuiverError {
  const message = `A server without access keys answers to names of its own machine, such as localhost, not to host ${quote(host)}: call it by one of them, name it in --hosts, ${WITH_A_KEY}`;
  return new QuiverError("HOST_REFUSED", message);
}

function originRefused(origin: string): QuiverError {
  const message = `A server without access keys refuses web pages of other origins, here ${quote(origin)}: allow it with --cors-origins, ${WITH_A_KEY}`;
  return new QuiverError("ORIGIN_REFUSED", message);
}
