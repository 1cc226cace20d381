import { QuiverError } from "../../errors.ts";
import type { Service } from "../../service/service.ts";
import { byApiKey } from "../by-api-key.ts";
import type { Facade, Proof, RequestHead } from "../facade.ts";
import { pathBelow } from "../path-routes.ts";
import { type Api, answerError } from "./errors.ts";
import { deleteItems, deleteVectors, getItems } from "./items.ts";
import { createNamespace, deleteJobStatus, deleteNamespace, health, listNamespaces } from "./namespaces.ts";
import { createFind, type Route } from "./routes.ts";
import { search } from "./search.ts";
import { textRoutes } from "./text.ts";
import { startUpload, uploadJobStatus, uploadVectors } from "./uploads.ts";

export interface MoorchehOptions {
  readonly defaultBucket: string;
  readonly moorchehMaxItems: number;
}

const PREFIXES: Readonly<Record<Api, string>> = { "on-prem": "/moorcheh", cloud: "/moorcheh/v1" };

const COMMON: readonly Route[] = [
  ["POST /namespaces", "CreateNamespace", "write", createNamespace],
  ["GET /namespaces", "ListNamespaces", "read", listNamespaces],
  ["DELETE /namespaces/{namespace}", "DeleteNamespace", "write", deleteNamespace],
  ["POST /search", "Search", "search", search],
];

const ROUTES: Readonly<Record<Api, readonly Route[]>> = {
  "on-prem": [
    ...COMMON,
    ["GET /health", "Health", "read", health],
    ["GET /namespaces/{namespace}/delete-jobs/{id}", "GetDeleteJob", "read", deleteJobStatus],
    ["POST /namespaces/{namespace}/vectors", "UploadVectors", "write", startUpload],
    ["GET /namespaces/{namespace}/upload-jobs/{id}", "GetUploadJob", "read", uploadJobStatus],
    ["POST /namespaces/{namespace}/items/get", "GetItems", "read", getItems],
    ["POST /namespaces/{namespace}/items/delete", "DeleteItems", "write", deleteItems],
    ...textRoutes("on-prem"),
  ],
  cloud: [
    ...COMMON,
    ["POST /namespaces/{namespace}/vectors", "UploadVectors", "write", uploadVectors],
    ["POST /namespaces/{namespace}/vectors/delete", "DeleteVectors", "write", deleteVectors],
    ...textRoutes("cloud"),
  ],
};

/** The API of the server that Moorcheh's users run themselves, below `/moorcheh`. */
export function createMoorchehOnPremFacade(service: Service, options: MoorchehOptions): Facade {
  return createFacade(service, options, "on-prem");
}

/** The API of Moorcheh's cloud, below `/moorcheh/v1`. */
export function createMoorchehCloudFacade(service: Service, options: MoorchehOptions): Facade {
  return createFacade(service, options, "cloud");
}

function createFacade(service: Service, options: MoorchehOptions, api: Api): Facade {
  const context = { service, api, bucket: options.defaultBucket, maxItems: options.moorchehMaxItems };
  const find = createFind(ROUTES[api], context);
  return {
    name: api === "cloud" ? "moorcheh-cloud" : "moorcheh",
    numberFields: new Set(["vector", "query"]),
    find(head) {
      const path = pathBelow(PREFIXES[api], head);
      return path === undefined ? undefined : find(head, path);
    },
    authenticate: (head) => (api === "cloud" ? byApiKey(service, head) : onPremProof(service, head)),
    answerError: (error, _head, { name }) => answerError(error, api, name),
    headers: ({ requestId }) => ({ "x-request-id": requestId }),
  };
}

/** As in the native API; but on-prem clients cannot bring an api key, and are told so. */
function onPremProof(service: Service, head: RequestHead): Proof {
  try {
    return byApiKey(service, head);
  } catch (error) {
    if (!(error instanceof QuiverError) || error.reason !== "CREDENTIALS_MISSING") throw error;
    const message =
      "This server has access keys, and Moorcheh's on-prem client sends none: it works with a server without access keys only; use the cloud client with /moorcheh/v1 and an api key, or send one as x-api-key";
    throw new QuiverError("CREDENTIALS_MISSING", message, { cause: error });
  }
}
