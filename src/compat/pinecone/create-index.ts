import { invalidField, QuiverError, quote } from "../../errors.ts";
import type { CreateIndexRequest } from "../../service/indexes.ts";
import { JsonFields } from "../json-fields.ts";
import { PLAIN_INDEX } from "../plain-requests.ts";
import { DEFAULT_SPEC, KIND_TAG, type Spec } from "./index-kind.ts";
import { PINECONE_LIMITS } from "./limits.ts";
import { METRICS } from "./metrics.ts";

/** The index that a request to create one means, in either form: by dimension, metric and spec, or by schema and deployment. */
export function toCreateRequest(body: unknown, vectorBucketName: string): CreateIndexRequest {
  const fields = new JsonFields(body);
  for (const name of ["cmek_id", "source_collection", "source_backup_id"]) {
    if (fields.has(name)) throw notOffered(fields.pathOf(name));
  }
  assertOnDemand(fields);
  const indexName = toIndexName(fields.string("name"));
  const schema = fields.fields("schema");
  const spec = schema ? fromDeployment(fields.fields("deployment")) : toSpec(fields.fields("spec"));
  const { sparse, dimension, metric } = schema ? fromSchema(schema) : fromMembers(fields);
  const distanceMetric = METRICS.get(metric);
  if (!distanceMetric) {
    throw invalidField("metric", `Must be one of cosine, euclidean and dotproduct, got ${quote(metric)}`);
  }
  if (sparse && distanceMetric !== "dot_product") {
    throw invalidField("metric", `Must be dotproduct on a sparse index, got ${quote(metric)}`);
  }
  return {
    ...PLAIN_INDEX,
    vectorBucketName,
    vectorBucketArn: "",
    indexName,
    // A sparse index has no dimension, an index of this server has one.
    dimension: sparse ? 1 : dimension,
    distanceMetric,
    nonFilterableMetadataKeys: TEXT_KEYS,
    deletionProtection: toDeletionProtection(fields) ?? false,
    tags: { ...toTags(fields), [KIND_TAG]: JSON.stringify({ ...(sparse && { sparse }), spec }) },
  };
}

/**
 * Where LangChain, LlamaIndex and Pinecone's own guides keep the text of a record: it is longer than what can be filtered by
 * may be, and nobody filters by it.
 */
const TEXT_KEYS = ["text", "chunk_text", "_node_content"];

export function toDeletionProtection(fields: JsonFields): boolean | undefined {
  const value = fields.string("deletion_protection");
  if (value === undefined) return undefined;
  if (value === "enabled" || value === "disabled") return value === "enabled";
  throw invalidField("deletion_protection", `Must be enabled or disabled, got ${quote(value)}`);
}

const TAG_KEY = /^[A-Za-z0-9_-]+$/;

/** Undefined: none were given. An empty value takes a tag away. */
export function toTags(fields: JsonFields): Readonly<Record<string, string>> | undefined {
  const tags = fields.fields("tags");
  if (tags === undefined) return undefined;
  const { tagKeyLengthMax: keyMax, tagValueLengthMax: valueMax } = PINECONE_LIMITS;
  return Object.fromEntries(
    tags.names().map((key) => {
      const value = tags.string(key) ?? "";
      if (key.length > keyMax || !TAG_KEY.test(key)) {
        throw invalidField("tags", `A key must be 1 to ${keyMax} of letters, digits, "_" and "-", got ${quote(key)}`);
      }
      if (value.length > valueMax) {
        throw invalidField(tags.pathOf(key), `Must be at most ${valueMax} characters, got ${value.length}`);
      }
      return [key, value];
    }),
  );
}

/** Throws when it asks for nodes of its own. */
function assertOnDemand(fields: JsonFields): void {
  const mode = fields.fields("read_capacity")?.string("mode") ?? "OnDemand";
  if (mode !== "OnDemand") throw notOffered(fields.pathOf("read_capacity"));
}

function notOffered(field: string): QuiverError {
  return new QuiverError("NOT_IMPLEMENTED", `${field}: This server does not offer it`);
}

const NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;

/** Whether an index of Pinecone's can have this name. */
export function isIndexName(name: string): boolean {
  return name.length <= PINECONE_LIMITS.indexNameLengthMax && NAME.test(name);
}

function toIndexName(name = ""): string {
  if (isIndexName(name)) return name;
  throw invalidField(
    "name",
    `Name must be 1 to ${PINECONE_LIMITS.indexNameLengthMax} characters, consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character, got ${quote(name)}`,
  );
}

function fromMembers(fields: JsonFields) {
  const type = fields.string("vector_type") ?? "dense";
  if (type !== "dense" && type !== "sparse") {
    throw invalidField("vector_type", `Must be dense or sparse, got ${quote(type)}`);
  }
  const sparse = type === "sparse";
  const dimension = fields.integer("dimension");
  if (sparse && dimension !== undefined) throw invalidField("dimension", "Must not be given for a sparse index");
  const metric = fields.string("metric") ?? (sparse ? "dotproduct" : "cosine");
  return { sparse, dimension: dimension ?? 0, metric };
}

/** Only vectors without a name: this server has no documents. */
function fromSchema(schema: JsonFields) {
  const fields = schema.fields("fields");
  const [name = "", ...others] = fields?.names() ?? [];
  const field = fields?.fields(name);
  const type = field?.string("type");
  if (others.length === 0 && name === "_values" && type === "dense_vector") {
    const metric = field?.string("metric") ?? "cosine";
    return { sparse: false, dimension: field?.integer("dimension") ?? 0, metric };
  }
  if (others.length === 0 && name === "_sparse_values" && type === "sparse_vector") {
    return { sparse: true, dimension: 0, metric: "dotproduct" };
  }
  throw new QuiverError(
    "NOT_IMPLEMENTED",
    "schema.fields: This server stores no documents: give either _values, a dense_vector, or _sparse_values, a sparse_vector",
  );
}

function toSpec(spec: JsonFields | undefined): Spec {
  const serverless = spec?.fields("serverless");
  if (serverless) {
    assertOnDemand(serverless);
    if (serverless.has("source_collection")) throw notOffered(serverless.pathOf("source_collection"));
    return toServerless(serverless);
  }
  const pod = spec?.fields("pod");
  if (pod) return toPod(pod);
  throw invalidField("spec", "Must have serverless or pod");
}

function fromDeployment(deployment: JsonFields | undefined): Spec {
  if (!deployment) return DEFAULT_SPEC;
  const type = deployment.string("deployment_type") ?? "managed";
  if (type === "managed") return toServerless(deployment);
  if (type === "pod") return toPod(deployment);
  throw notOffered(deployment.pathOf("deployment_type"));
}

function toServerless(fields: JsonFields): Spec {
  return { serverless: { cloud: toWord(fields, "cloud"), region: toWord(fields, "region") } };
}

function toPod(fields: JsonFields): Spec {
  const replicas = toCount(fields, "replicas");
  const shards = toCount(fields, "shards");
  return {
    pod: {
      environment: toWord(fields, "environment"),
      pod_type: toWord(fields, "pod_type", "p1.x1"),
      pods: fields.integer("pods") ?? replicas * shards,
      replicas,
      shards,
    },
  };
}

const WORD_LENGTH_MAX = 50;
const COUNT_MAX = 999;

function toWord(fields: JsonFields, name: string, absent = ""): string {
  const word = fields.string(name) ?? absent;
  if (word.length >= 1 && word.length <= WORD_LENGTH_MAX) return word;
  throw invalidField(fields.pathOf(name), `Must be 1 to ${WORD_LENGTH_MAX} characters, got ${word.length}`);
}

function toCount(fields: JsonFields, name: string): number {
  const count = fields.integer(name) ?? 1;
  if (count >= 1 && count <= COUNT_MAX) return count;
  throw invalidField(fields.pathOf(name), `Must be 1 to ${COUNT_MAX}, got ${count}`);
}
