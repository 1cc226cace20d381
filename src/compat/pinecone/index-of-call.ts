import type { IncomingHttpHeaders } from "node:http";
import { invalidField, quote } from "../../errors.ts";
import { hostOf } from "../../http/loopback.ts";
import type { Caller } from "../../service/access/caller.ts";
import type { Service } from "../../service/service.ts";
import type { DataPlaneOptions } from "./data-plane-call.ts";
import { indexInHost } from "./index-in-host.ts";

/**
 * The index that a gRPC call is about, whose messages never name it: by the header `service-name`, which clients send for an
 * index that they know by name; else by the host that is called; else the only one that there is. Of what the caller may not
 * look at it says nothing. Throws INVALID_FIELD.
 */
export async function indexOfCall(
  { indexes }: Service,
  { defaultBucket }: DataPlaneOptions,
  { caller, headers }: { readonly caller: Caller; readonly headers: IncomingHttpHeaders },
): Promise<string> {
  const given = headers["service-name"];
  if (typeof given === "string" && given !== "") return given;

  const authority = headers[":authority"] ?? headers.host ?? "";
  const named = indexInHost(hostOf(`${authority}`));
  if (named?.isCertain) return named.index;
  if (named !== undefined) {
    const [first] = await indexes.visible(caller, defaultBucket, { prefix: named.index, max: 1 });
    if (first === named.index) return first;
  }
  const [only, ...others] = await indexes.visible(caller, defaultBucket, { prefix: "", max: 2 });
  if (only !== undefined && others.length === 0) return only;
  throw invalidField(
    "service-name",
    `The call must say which index of vector bucket ${quote(defaultBucket)} it is about, since there is not exactly one: open it with both its name and its host, send the header "service-name", or call the server by a host name whose first label is the index, such as <index>.localhost`,
  );
}
