import { createHash, randomBytes } from "node:crypto";
import { invalidField, QuiverError, quote } from "../../errors.ts";
import type { Caller } from "../../service/access/caller.ts";
import { LIMITS } from "../../service/limits.ts";
import { createInBucket, listBucket } from "../default-bucket.ts";
import type { FacadeAnswer, FacadeRequest } from "../facade.ts";
import { JsonFields } from "../json-fields.ts";
import { orIf } from "../or-if.ts";
import { PLAIN_INDEX } from "../plain-requests.ts";
import { bucketOf, indexOf, type MoorchehContext } from "./context.ts";
import { inNamespace } from "./errors.ts";
import { MOORCHEH_LIMITS } from "./limits.ts";
import type { RouteParameters } from "./routes.ts";
import { noText } from "./text.ts";

/** Creates a namespace: an index that measures the cosine distance. */
export async function createNamespace(context: MoorchehContext, request: FacadeRequest): Promise<FacadeAnswer> {
  const { service } = context;
  const { name, dimension } = readNamespace(new JsonFields(request.body));
  request.note(`${context.bucket}/${name}`);
  try {
    await createInBucket(service, request.caller, {
      ...PLAIN_INDEX,
      ...bucketOf(context),
      indexName: name,
      dimension,
      distanceMetric: "cosine",
      nonFilterableMetadataKeys: [],
    });
  } catch (error) {
    if (!(error instanceof QuiverError) || error.reason !== "INDEX_EXISTS") throw error;
    throw new QuiverError("INDEX_EXISTS", `Namespace '${name}' already exists.`, { cause: error });
  }
  const message = `Namespace '${name}' created successfully.`;
  const body = { status: "success", message, namespace_name: name, type: "vector", vector_dimension: dimension };
  return { status: 201, body };
}

/** Lists the namespaces whose names Moorcheh can express. */
export async function listNamespaces(context: MoorchehContext, { caller }: FacadeRequest): Promise<FacadeAnswer> {
  const indexes = await listBucket(context.service, caller, context.bucket);
  const counts = context.api === "cloud" ? await vectorCounts(context, caller) : undefined;
  const namespaces = indexes
    .filter(({ index }) => MOORCHEH_LIMITS.namespaceName.test(index))
    .map(({ index, dimension, createdAt }) => ({
      namespace_name: index,
      type: "vector",
      vector_dimension: dimension,
      ...(counts && { itemCount: counts.get(index) ?? 0, createdAt: new Date(createdAt).toISOString() }),
    }));
  return { status: 200, body: { namespaces } };
}

/** Deletes a namespace at once. On-prem clients ask for the state of a job then, which has ended before they know of it. */
export async function deleteNamespace(
  context: MoorchehContext,
  { caller, note }: FacadeRequest,
  { namespace }: RouteParameters,
): Promise<FacadeAnswer> {
  note(`${context.bucket}/${namespace}`);
  await inNamespace(namespace, () => context.service.indexes.delete(caller, indexOf(context, namespace)));
  if (context.api === "cloud") {
    return { status: 200, body: { status: "success", message: `Namespace '${namespace}' deleted successfully.` } };
  }
  const message = "Namespace delete started.";
  const job_id = deleteJobId(namespace, randomBytes(8).toString("hex"));
  return { status: 202, body: { status: "success", message, job_id, namespace_name: namespace } };
}

/** A job that deletes is known by its id alone, so that it is known after a restart, too. */
export function deleteJobStatus(
  _context: MoorchehContext,
  _request: FacadeRequest,
  { namespace, id }: RouteParameters,
): FacadeAnswer {
  const nonce = id.slice("job-".length, "job-".length + 16);
  if (id !== deleteJobId(namespace, nonce)) throw new QuiverError("JOB_NOT_FOUND", "Delete job not found.");
  return { status: 200, body: { job_id: id, namespace_name: namespace, status: "completed", last_error: null } };
}

/** Tells how much there is room for. */
export async function health(context: MoorchehContext, { caller }: FacadeRequest): Promise<FacadeAnswer> {
  const items = [...(await vectorCounts(context, caller)).values()].reduce((sum, count) => sum + count, 0);
  const { maxItems } = context;
  const room =
    maxItems === 0
      ? { max_items: null, remaining: null }
      : { max_items: maxItems, remaining: Math.max(0, maxItems - items) };
  return { status: 200, body: { status: "ok", embedding_provider: null, model: null, items, ...room } };
}

function readNamespace(body: JsonFields) {
  const name = body.string("namespace_name") ?? "";
  if (!MOORCHEH_LIMITS.namespaceName.test(name)) {
    const allowed = `1 to ${LIMITS.nameLengthMax} letters, digits, "-" and "_", the first a letter or digit`;
    throw invalidField("namespace_name", `Must be ${allowed}, got ${quote(name)}`);
  }
  const type = body.string("type");
  if (type === "text") throw noText("A namespace of type text");
  if (type !== "vector") throw invalidField("type", `Must be "vector", got ${quote(type ?? "")}`);
  const dimension = body.integer("vector_dimension") ?? 0;
  if (dimension < 1 || dimension > LIMITS.dimensionMax) {
    throw invalidField("vector_dimension", `Must be 1 to ${LIMITS.dimensionMax}, got ${dimension}`);
  }
  return { name, dimension };
}

/** By the names of the indexes; none as long as there is no bucket. */
async function vectorCounts(context: MoorchehContext, caller: Caller): Promise<ReadonlyMap<string, number>> {
  const counts = context.service.indexes.vectorCounts(caller, bucketOf(context));
  return orIf("BUCKET_NOT_FOUND", counts, new Map());
}

function deleteJobId(namespace: string, nonce: string): string {
  const proof = createHash("sha256").update(`delete ${nonce} ${namespace}`).digest("hex");
  return `job-${nonce}${proof.slice(0, 16)}`;
}
