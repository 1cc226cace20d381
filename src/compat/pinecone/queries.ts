import type { DistanceMetric, ScoredVector, SparseData } from "../../engine/engine.ts";
import { invalidField } from "../../errors.ts";
import type { Caller } from "../../service/access/caller.ts";
import type { PartitionReference } from "../../service/partitions.ts";
import type { QueryRequest } from "../../service/queries.ts";
import type { Service } from "../../service/service.ts";
import { JsonFields } from "../json-fields.ts";
import { PLAIN_QUERY } from "../plain-requests.ts";
import { orIfAbsent } from "./absent-namespace.ts";
import { fromVector, toFilter, toId, toPartition, toSparse, USAGE } from "./convert.ts";
import type { DataPlane, DataPlaneOptions } from "./data-plane-call.ts";
import { assertNotSparse } from "./index-kind.ts";
import { PINECONE_LIMITS } from "./limits.ts";

const NOTHING = Object.freeze({ vectors: [], distanceMetric: "cosine", lsn: 0 });

interface Target {
  readonly data: Float32Array | undefined;
  readonly sparse: SparseData | undefined;
}

export function createQueryOperations(service: Service, options: DataPlaneOptions): Pick<DataPlane, "query"> {
  return {
    async query(call) {
      const fields = new JsonFields(call.body);
      const namespace = fields.string("namespace") ?? "";
      const partition = toPartition(options, call, namespace);
      const topK = fields.integer("topK") ?? 0;
      if (topK < 1 || topK > PINECONE_LIMITS.topKMax) {
        throw invalidField("topK", `Must be 1 to ${PINECONE_LIMITS.topKMax}, got ${topK}`);
      }
      const target = await toTarget(service, call.caller, partition, fields);
      if (target === undefined) return { matches: [], namespace, usage: USAGE };
      await assertNotSparse(service, call.caller, partition, target.data);
      const request: QueryRequest = {
        ...PLAIN_QUERY,
        ...partition,
        ...target,
        topK,
        filter: toFilter(fields),
        projection: {
          data: fields.boolean("includeValues") ?? false,
          metadata: fields.boolean("includeMetadata") ?? false,
        },
        returnDistance: true,
      };
      const { vectors, distanceMetric, lsn } = await orIfAbsent(queryAll(service, call.caller, request), NOTHING);
      call.noteLsn?.(lsn);
      return { matches: vectors.map((vector) => fromScored(vector, distanceMetric)), namespace, usage: USAGE };
    },
  };
}

/**
 * What to be near to. A stored record finds itself, too: by its values, or by its sparse values when it has no others.
 * Undefined: there is no such record.
 */
async function toTarget(
  service: Service,
  caller: Caller,
  partition: PartitionReference,
  fields: JsonFields,
): Promise<Target | undefined> {
  const values = fields.floats("vector");
  const data = values && values.length > 0 ? values : undefined;
  const sparse = toSparse(fields, "sparseVector");
  const id = fields.string("id") ?? "";
  if (id === "") {
    if (data || sparse) return { data, sparse };
    throw invalidField("vector", "Give a vector, a sparseVector or an id");
  }
  if (data || sparse) throw invalidField("id", "Cannot provide both ID and vector at the same time.");
  const request = { ...partition, keys: [toId("id", id)], projection: { data: true, metadata: false } };
  const { vectors } = await orIfAbsent(service.vectors.get(caller, request), { vectors: [], lsn: 0 });
  const [stored] = vectors;
  return stored && { data: stored.data, sparse: stored.data ? undefined : stored.sparse };
}

/** All pages of an answer. */
async function queryAll(service: Service, caller: Caller, request: QueryRequest) {
  const vectors: ScoredVector[] = [];
  let bytes = 0;
  for (let nextToken = ""; ; ) {
    const page = await service.queries.query(caller, { ...request, nextToken });
    vectors.push(...page.vectors);
    bytes += page.vectors.reduce((sum, vector) => sum + bytesOf(vector), 0);
    if (bytes > PINECONE_LIMITS.answerBytesMax) {
      const description = `The answer would be larger than ${PINECONE_LIMITS.answerBytesMax} bytes: ask for less`;
      throw invalidField("topK", description);
    }
    nextToken = page.nextToken;
    if (nextToken === "") return { vectors, distanceMetric: page.distanceMetric, lsn: page.lsn };
  }
}

function bytesOf({ key, data, sparse, metadata }: ScoredVector): number {
  const numbers = (data?.byteLength ?? 0) + (sparse ? sparse.indices.byteLength + sparse.values.byteLength : 0);
  return Buffer.byteLength(key) + numbers + (metadata ? Buffer.byteLength(JSON.stringify(metadata)) : 0);
}

function fromScored(vector: ScoredVector, metric: DistanceMetric) {
  return { ...fromVector(vector), score: scoreOf(vector.distance, metric), values: Array.from(vector.data ?? []) };
}

/** The larger the nearer, except that a euclidean score is the distance. */
function scoreOf(distance: number, metric: DistanceMetric): number {
  switch (metric) {
    case "cosine":
      return 1 - distance;
    case "dot_product":
      return -distance;
    case "euclidean":
      return distance;
  }
}
