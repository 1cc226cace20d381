import type { Metadata, VectorInput } from "../../engine/engine.ts";
import type { Service } from "../../service/service.ts";
import type { Operation } from "../facade.ts";
import { PLAIN_DELETE, PLAIN_QUERY } from "../plain-requests.ts";
import { toResult, toVector } from "../vector-json.ts";
import { vectorDataOf } from "./convert.ts";
import { invalidRecord, queryError, recordError } from "./errors.ts";
import { filterOf } from "./filter.ts";
import type { Input } from "./input.ts";
import { S3_LIMITS } from "./limits.ts";
import { metadataProblem } from "./metadata.ts";
import { operation } from "./operation.ts";
import { indexOf, placeOf } from "./references.ts";

/** Amazon's indexes are not parted: what they hold is in the default namespace. */
const namespace = "";

export function vectorOperations({ vectors, queries }: Service): readonly Operation[] {
  return [
    operation("PutVectors", "write", async (input, { caller, note }) => {
      const reference = indexOf(input);
      const read = input.items("vectors", S3_LIMITS.putVectors).map(vectorOf);
      input.assertValid();
      for (const [i, { key, metadata }] of read.entries()) {
        const problem = metadataProblem(metadata);
        if (problem !== undefined) throw invalidRecord("METADATA_INVALID", i, key, problem);
      }
      note(placeOf(reference));
      const request = { ...reference, namespace, vectors: read, onDuplicate: "last_wins", idempotencyKey: "" } as const;
      const keys = read.map(({ key }) => key);
      await vectors.put(caller, request).catch((thrown: unknown) => {
        throw recordError(thrown, keys);
      });
      return {};
    }),

    operation("GetVectors", "read", async (input, { caller, note }) => {
      const reference = indexOf(input);
      const keys = keysOf(input, S3_LIMITS.getKeys);
      const projection = projectionOf(input);
      input.assertValid();
      note(placeOf(reference));
      const found = await vectors.get(caller, { ...reference, namespace, keys, projection });
      return { vectors: found.vectors.map(toVector) };
    }),

    operation("ListVectors", "read", async (input, { caller, note }) => {
      const reference = indexOf(input);
      const maxResults = input.integer("maxResults", S3_LIMITS.listPage) ?? 0;
      const nextToken = input.string("nextToken", { length: S3_LIMITS.listToken });
      const segment = segmentOf(input);
      const projection = projectionOf(input);
      input.assertValid();
      note(placeOf(reference));
      const page = { ...reference, namespace, prefix: "", filter: undefined, maxResults, nextToken };
      const { items, nextToken: next } = await vectors.list(caller, { ...page, ...segment, projection });
      return { vectors: items.map(toVector), nextToken: next || undefined };
    }),

    operation("QueryVectors", "search", async (input, { caller, note }) => {
      const reference = indexOf(input);
      const topK = input.integer("topK", S3_LIMITS.topK, true) ?? 0;
      const data = vectorDataOf(input, "queryVector");
      const nextToken = input.string("nextToken", { length: S3_LIMITS.queryToken });
      const returnDistance = input.boolean("returnDistance");
      const projection = { data: false, metadata: input.boolean("returnMetadata") };
      input.choice("queryMode", ["CLASSIC"]);
      input.rule(!input.fields.has("queryTexts"), "queryTexts", "This server has no text search: use queryVector");
      input.assertValid();
      note(placeOf(reference));
      const request = {
        ...PLAIN_QUERY,
        ...reference,
        namespace,
        data,
        topK,
        filter: filterOf(input.fields.value("filter")),
        projection,
        returnDistance,
        nextToken,
        pageMax: S3_LIMITS.queryPageMax,
      } as const;
      const page = await queries.query(caller, request).catch((thrown: unknown) => {
        throw queryError(thrown);
      });
      return {
        vectors: page.vectors.map((vector) => toResult(vector, returnDistance)),
        distanceMetric: page.distanceMetric,
        nextToken: page.nextToken || undefined,
      };
    }),

    operation("DeleteVectors", "write", async (input, { caller, note }) => {
      const reference = indexOf(input);
      const keys = keysOf(input, S3_LIMITS.deleteKeys);
      input.rule(new Set(keys).size === keys.length, "keys", "Request must not contain duplicate keys");
      input.assertValid();
      note(placeOf(reference));
      await vectors.delete(caller, { ...PLAIN_DELETE, ...reference, namespace, keys });
      return {};
    }),
  ];
}

function vectorOf(input: Input, i: number): VectorInput {
  const key = input.string("key", { length: S3_LIMITS.key, isRequired: true });
  assertKeyBytes(input, key, `vectors[${i}]`);
  const data = vectorDataOf(input, "data");
  return { key, data, metadata: (input.fields.value("metadata") ?? {}) as Metadata };
}

function keysOf(input: Input, count: (typeof S3_LIMITS)["getKeys" | "deleteKeys"]): readonly string[] {
  const keys = input.strings("keys", count, S3_LIMITS.key);
  for (const [i, key] of keys.entries()) assertKeyBytes(input, key, `keys[${i}]`);
  return keys;
}

/** As many bytes are allowed as characters, which may be fewer. */
function assertKeyBytes(input: Input, key: string, field: string): void {
  const fits = Buffer.byteLength(key) <= S3_LIMITS.key.max;
  input.rule(fits, field, "Record key length exceeds the maximum allowed");
}

function projectionOf(input: Input) {
  return { data: input.boolean("returnData"), metadata: input.boolean("returnMetadata") };
}

function segmentOf(input: Input) {
  const segmentCount = input.integer("segmentCount", S3_LIMITS.segmentCount);
  const segmentIndex = input.integer("segmentIndex", S3_LIMITS.segmentIndex);
  const isWhole = (segmentCount === undefined) === (segmentIndex === undefined);
  input.rule(isWhole, "segmentCount", "Must specify both segmentCount and segmentIndex, or neither");
  const isWithin = segmentCount === undefined || segmentIndex === undefined || segmentIndex < segmentCount;
  input.rule(isWithin, "segmentIndex", "segmentIndex must be less than segmentCount");
  return { segmentCount: segmentCount ?? 0, segmentIndex: segmentIndex ?? 0 };
}
