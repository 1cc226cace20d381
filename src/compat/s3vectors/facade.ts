import { QuiverError, quote } from "../../errors.ts";
import type { Service } from "../../service/service.ts";
import type { Facade, Operation } from "../facade.ts";
import { authenticate } from "./authenticate.ts";
import { bucketOperations } from "./buckets.ts";
import { answerError } from "./errors.ts";
import { indexOperations } from "./indexes.ts";
import { S3_LIMITS } from "./limits.ts";
import { tagOperations } from "./tags.ts";
import { vectorOperations } from "./vectors.ts";

/** Where a client may also be pointed to; it puts its own paths behind. */
const PREFIX = "/s3vectors";
const TAGS = /^\/tags\/[^/]+$/;

/** Of newer service models. */
const NOT_OFFERED = ["UpdateIndexMode", "UpdateMetadataConfiguration", "PutVectorBucketDefaultIndexMode"];

/** Amazon S3 Vectors, API version 2025-07-15. `now`: milliseconds since the epoch. */
export function createS3VectorsFacade(service: Service, { now }: { now(): number }): Facade {
  const byPath = new Map<string, Operation>(
    [
      ...bucketOperations(service),
      ...indexOperations(service),
      ...vectorOperations(service),
      ...NOT_OFFERED.map(notOffered),
    ].map((operation) => [`/${operation.name}`, operation]),
  );
  const byTagMethod = tagOperations(service);
  const unknown = notOffered("Unknown");

  return {
    name: "s3vectors",
    numberFields: new Set(["float32"]),
    find({ method, path }) {
      const isPrefixed = path === PREFIX || path.startsWith(`${PREFIX}/`);
      // An endpoint that ends in a slash gives two.
      const rest = (isPrefixed ? path.slice(PREFIX.length) : path).replace(/^\/+/, "/");
      const operation = TAGS.test(rest) ? byTagMethod.get(method) : method === "POST" ? byPath.get(rest) : undefined;
      return operation ?? (isPrefixed ? unknown : undefined);
    },
    authenticate: (head) => authenticate(service, head, now()),
    answerError: (error, _head, operation) => answerError(error, operation),
    headers: ({ requestId }) => ({ "x-amzn-requestid": requestId }),
  };
}

function notOffered(name: string): Operation {
  return {
    name,
    kind: "read",
    maxBytes: S3_LIMITS.requestBytesMax,
    serve({ head }) {
      const asked = quote(`${head.method} ${head.path}`);
      throw new QuiverError("NOT_IMPLEMENTED", `This server does not offer ${asked}`);
    },
  };
}
