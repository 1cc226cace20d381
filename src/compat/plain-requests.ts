import { DEFAULTS } from "../service/limits.ts";
import type { QueryRequest } from "../service/queries.ts";

// What requests to the service say where other vendors' APIs have no words for more.

export const PLAIN_INDEX = Object.freeze({ m: 0, efConstruction: 0, deletionProtection: false, tags: {} });

export const PLAIN_QUERY = Object.freeze({
  key: "",
  sparse: undefined,
  denseWeight: undefined,
  search: { kind: "recall_target", recallTarget: DEFAULTS.recallTarget },
  filter: undefined,
  nextToken: "",
} as const satisfies Partial<QueryRequest>);

export const PLAIN_DELETE = Object.freeze({ filter: undefined, all: false, idempotencyKey: "" });
