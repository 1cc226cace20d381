import type { Index, Metadata, MetadataValue, VectorInput } from "../../engine/engine.ts";
import { invalidField, quote } from "../../errors.ts";
import type { Service } from "../../service/service.ts";
import { assertDistinctKeys } from "../../service/vector-input.ts";
import type { FacadeAnswer } from "../facade.ts";
import type { JsonFields } from "../json-fields.ts";
import { PLAIN_DELETE, PLAIN_QUERY } from "../plain-requests.ts";
import { toResult, toVector } from "../vector-json.ts";
import { OSS_LIMITS } from "./limits.ts";
import { DONE, GONE, type IndexRequest, integerIn, onIndex, type Routes } from "./operations.ts";

/** The vectors of an index: put, get, list, delete, query. */
export function vectorRoutes({ vectors, queries }: Service): Routes {
  const put = async ({ caller, fields, index }: IndexRequest): Promise<FacadeAnswer> => {
    const items = fields.items("vectors") ?? [];
    assertCount("vectors", items.length, OSS_LIMITS.putVectorsMax);
    const inputs = items.map(vectorOf);
    assertDistinctKeys("vectors", inputs);
    const assertMore = (stored: Index) => assertFilterableKeys(inputs, stored);
    await vectors.put(caller, { ...index, vectors: inputs, onDuplicate: "error", idempotencyKey: "", assertMore });
    return DONE;
  };

  const query = async ({ caller, fields, index }: IndexRequest): Promise<FacadeAnswer> => {
    const topK = integerIn(fields, "topK", 1, OSS_LIMITS.topKMax);
    if (topK === undefined) throw invalidField("topK", `Must be 1 to ${OSS_LIMITS.topKMax}, got nothing`);
    const returnDistance = fields.boolean("returnDistance") ?? false;
    const answer = await queries.query(caller, {
      ...PLAIN_QUERY,
      ...index,
      data: fields.fields("queryVector")?.floats("float32") ?? new Float32Array(0),
      topK,
      filter: fields.object("filter") as Metadata | undefined,
      projection: { data: false, metadata: fields.boolean("returnMetadata") ?? false },
      returnDistance,
    });
    return { status: 200, body: { vectors: answer.vectors.map((vector) => toResult(vector, returnDistance)) } };
  };

  return {
    "POST putVectors": onIndex("PutVectors", "write", put, OSS_LIMITS.putBytesMax),
    "POST getVectors": onIndex("GetVectors", "read", async ({ caller, fields, index }) => {
      const keys = keysOf(fields, OSS_LIMITS.getKeysMax);
      const { vectors: found } = await vectors.get(caller, { ...index, keys, projection: projectionOf(fields) });
      return { status: 200, body: { vectors: found.map(toVector) } };
    }),
    "POST listVectors": onIndex("ListVectors", "read", async ({ caller, fields, index }) => {
      const page = await vectors.list(caller, {
        ...index,
        prefix: "",
        maxResults: integerIn(fields, "maxResults", 1, OSS_LIMITS.listVectorsMax) ?? 0,
        nextToken: fields.string("nextToken") ?? "",
        filter: undefined,
        ...segmentOf(fields),
        projection: projectionOf(fields),
      });
      return { status: 200, body: { vectors: page.items.map(toVector), nextToken: page.nextToken } };
    }),
    "POST deleteVectors": onIndex("DeleteVectors", "write", async ({ caller, fields, index }) => {
      const keys = keysOf(fields, OSS_LIMITS.deleteKeysMax);
      await vectors.delete(caller, { ...PLAIN_DELETE, ...index, keys });
      return GONE;
    }),
    "POST queryVectors": onIndex("QueryVectors", "search", query),
  };
}

function vectorOf(fields: JsonFields): VectorInput {
  const key = fields.string("key");
  if (key === undefined) throw invalidField(fields.pathOf("key"), "Must be given");
  const data = fields.fields("data")?.floats("float32");
  if (data === undefined) throw invalidField(fields.pathOf("data.float32"), "Must be given");
  const metadata = (fields.object("metadata") ?? {}) as Metadata;
  for (const [name, value] of Object.entries(metadata)) {
    if (isText(value)) continue;
    throw invalidField(
      `${fields.pathOf("metadata")}[${quote(name)}]`,
      "Must be a string or a list of strings",
      "METADATA_INVALID",
    );
  }
  return { key, data, metadata };
}

function isText(value: MetadataValue): boolean {
  return typeof value === "string" || (Array.isArray(value) && value.every((each) => typeof each === "string"));
}

function assertFilterableKeys(vectors: readonly VectorInput[], { nonFilterableMetadataKeys }: Index): void {
  for (const [i, { metadata }] of vectors.entries()) {
    const count = Object.keys(metadata).filter((key) => !nonFilterableMetadataKeys.includes(key)).length;
    if (count <= OSS_LIMITS.filterableKeysMax) continue;
    throw invalidField(
      `vectors[${i}].metadata`,
      `Must have at most ${OSS_LIMITS.filterableKeysMax} filterable keys, has ${count}`,
      "METADATA_TOO_LARGE",
    );
  }
}

/** Each once: repeated ones count once. */
function keysOf(fields: JsonFields, max: number): readonly string[] {
  const keys = [...new Set(fields.strings("keys"))];
  assertCount("keys", keys.length, max);
  return keys;
}

function assertCount(field: string, count: number, max: number): void {
  if (count < 1 || count > max) throw invalidField(field, `Must be 1 to ${max}, got ${count}`);
}

function segmentOf(fields: JsonFields): { readonly segmentCount: number; readonly segmentIndex: number } {
  const segmentCount = integerIn(fields, "segmentCount", 1, OSS_LIMITS.segmentsMax);
  const segmentIndex = integerIn(fields, "segmentIndex", 0, OSS_LIMITS.segmentsMax - 1);
  if ((segmentCount === undefined) !== (segmentIndex === undefined)) {
    throw invalidField("segmentIndex", "Give both of segmentCount and segmentIndex, or neither");
  }
  return { segmentCount: segmentCount ?? 0, segmentIndex: segmentIndex ?? 0 };
}

function projectionOf(fields: JsonFields) {
  return { data: fields.boolean("returnData") ?? false, metadata: fields.boolean("returnMetadata") ?? false };
}
