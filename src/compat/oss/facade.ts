import type { ArnScope } from "../../service/names.ts";
import type { Service } from "../../service/service.ts";
import type { Facade, Operation, RequestHead } from "../facade.ts";
import { authenticate } from "./authenticate.ts";
import { bucketSettingRoutes } from "./bucket-settings.ts";
import { bucketRoutes } from "./buckets.ts";
import { answerError } from "./errors.ts";
import { hostOf } from "./host.ts";
import { indexRoutes } from "./indexes.ts";
import { NOT_OFFERED, notOffered, type Routes } from "./operations.ts";
import { isSignedOss4 } from "./oss4.ts";
import { vectorRoutes } from "./vectors.ts";

export interface OssFacadeOptions {
  readonly scope: ArnScope;
  /** Milliseconds since the epoch; signatures are bound to it. */
  now(): number;
}

/** The vector buckets of Alibaba Cloud OSS, as its SDKs ask for them. */
export function createOssFacade(service: Service, { scope, now }: OssFacadeOptions): Facade {
  const routes: Routes = {
    ...bucketRoutes(service, scope),
    ...bucketSettingRoutes(service),
    ...indexRoutes(service),
    ...vectorRoutes(service),
  };
  const list = routes["GET "];
  const subResources = new Set(Object.keys(routes).map((route) => route.slice(route.indexOf(" ") + 1)));
  subResources.delete("");

  const find = (head: RequestHead): Operation | undefined => {
    const isSigned = isSignedOss4(head.headers);
    // Path "/" is also that of the page for people, and of requests that nobody knows.
    if (head.path !== "/") return isSigned ? NOT_OFFERED : undefined;
    const asked = namesIn(head.query);
    const subResource = asked.find((name) => subResources.has(name));
    if (!isSigned && subResource === undefined && !hasOwnHeader(head)) return undefined;
    const isPlain = subResource === undefined && asked.every((name) => LIST_PARAMETERS.has(name));
    const route = isPlain ? `${head.method} ` : `${head.method} ${subResource}`;
    return Object.hasOwn(routes, route) ? routes[route] : NOT_OFFERED;
  };

  return {
    name: "oss",
    numberFields: new Set(["float32"]),
    find,
    authenticate(head, operation) {
      // The list is asked of the endpoint, whatever the endpoint's name looks like.
      const bucket = operation === list ? undefined : hostOf(head).bucket;
      const proof = authenticate(service, head, { bucket, now: now() });
      // Whatever its body is: an object's is no JSON.
      if (operation === NOT_OFFERED) throw notOffered(head);
      return proof;
    },
    answerError: (error, head, operation) => answerError(error, head, operation, hostOf(head).endpoint),
    headers: ({ requestId }) => ({ "x-oss-request-id": requestId }),
  };
}

/** Of ListVectorBuckets; no other parameters stand beside them. */
const LIST_PARAMETERS: ReadonlySet<string> = new Set(["", "prefix", "marker", "max-keys"]);

function namesIn(query: string): string[] {
  return query.split("&").map((pair) => pair.split("=", 1)[0] ?? "");
}

function hasOwnHeader({ headers }: RequestHead): boolean {
  return Object.keys(headers).some((name) => name.startsWith("x-oss-"));
}
