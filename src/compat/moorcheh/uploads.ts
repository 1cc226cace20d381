import { setImmediate } from "node:timers/promises";
import type { Index, JobRecord, VectorInput } from "../../engine/engine.ts";
import { QuiverError } from "../../errors.ts";
import { LIMITS } from "../../service/limits.ts";
import { assertVector } from "../../service/vector-input.ts";
import type { FacadeAnswer, FacadeRequest } from "../facade.ts";
import { JsonFields } from "../json-fields.ts";
import { indexOf, type MoorchehContext } from "./context.ts";
import { toItems } from "./convert.ts";
import { inNamespace } from "./errors.ts";
import type { RouteParameters } from "./routes.ts";

/** On-prem: starts a job that stores the vectors. */
export async function startUpload(
  context: MoorchehContext,
  request: FacadeRequest,
  { namespace }: RouteParameters,
): Promise<FacadeAnswer> {
  const { service, maxItems } = context;
  const { items } = await readUpload(context, request, namespace);
  const record = await inNamespace(namespace, () =>
    service.jobs.start(request.caller, {
      ...indexOf(context, namespace),
      namespace: "",
      vectors: items.map(({ vector }) => vector),
      onDuplicate: "last_wins",
      idempotencyKey: "",
      ...(maxItems > 0 && { bucketVectorsMax: maxItems }),
    }),
  );
  const message = "Vectors upload started. Poll job status for progress.";
  const job = { job_id: `job-${record.jobId.replaceAll("-", "")}`, namespace_name: namespace, total: record.total };
  return { status: 202, body: { status: "success", message, ...job } };
}

/** On-prem: what has become of an upload. */
export async function uploadJobStatus(
  { service, bucket }: MoorchehContext,
  { caller }: FacadeRequest,
  { namespace, id }: RouteParameters,
): Promise<FacadeAnswer> {
  const unknown = new QuiverError("JOB_NOT_FOUND", "Upload job not found.");
  if (!JOB_ID.test(id)) throw unknown;
  const record = await service.jobs.get(caller, id.replace(JOB_ID, "$1-$2-$3-$4-$5")).catch((error: unknown) => {
    throw error instanceof QuiverError && error.reason === "JOB_NOT_FOUND" ? unknown : error;
  });
  const { partition } = record;
  if (partition.bucket !== bucket || partition.index !== namespace || partition.namespace !== "") throw unknown;
  return { status: 200, body: jobBody(record, id) };
}

/** Cloud: stores the vectors, and tells of those that could not be. */
export async function uploadVectors(
  context: MoorchehContext,
  request: FacadeRequest,
  { namespace }: RouteParameters,
): Promise<FacadeAnswer> {
  const { items, index } = await readUpload(context, request, namespace);
  const processed: unknown[] = [];
  const errors: { readonly id: unknown; readonly error: string }[] = [];
  for (let from = 0; from < items.length; from += LIMITS.batchVectorsMax) {
    // To refuse one takes as long as to store it, and nothing is waited for.
    await setImmediate();
    const vectors: VectorInput[] = [];
    for (const [i, { id, vector }] of items.slice(from, from + LIMITS.batchVectorsMax).entries()) {
      const error = refusalOf(`vectors[${from + i}]`, vector, index);
      if (error !== undefined) errors.push({ id, error });
      else {
        processed.push(id);
        vectors.push(vector);
      }
    }
    if (vectors.length > 0) await put(context, request, namespace, vectors);
  }
  const isWhole = errors.length === 0;
  return {
    status: isWhole ? 201 : 207,
    body: { status: isWhole ? "success" : "partial", vector_ids_processed: processed, errors },
  };
}

async function put(
  context: MoorchehContext,
  { caller }: FacadeRequest,
  namespace: string,
  vectors: readonly VectorInput[],
): Promise<void> {
  const target = { ...indexOf(context, namespace), namespace: "" };
  await inNamespace(namespace, () =>
    context.service.vectors.put(caller, { ...target, vectors, onDuplicate: "last_wins", idempotencyKey: "" }),
  );
}

const JOB_ID = /^job-([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/;

async function readUpload(context: MoorchehContext, { caller, body, note }: FacadeRequest, namespace: string) {
  note(`${context.bucket}/${namespace}`);
  const index = await inNamespace(namespace, () => context.service.indexes.get(caller, indexOf(context, namespace)));
  return { index, items: await toItems(new JsonFields(body), namespace, index) };
}

function refusalOf(path: string, vector: VectorInput, index: Index): string | undefined {
  try {
    assertVector(path, vector, index);
    return undefined;
  } catch (error) {
    if (error instanceof QuiverError) return error.message;
    throw error;
  }
}

function jobBody({ partition, total, successful, failed, state, lastError, errors, ...times }: JobRecord, id: string) {
  return {
    job_id: id,
    namespace_name: partition.index,
    // Clients wait for one of these two.
    status: state === "cancelled" ? "failed" : state,
    total,
    processed: successful + failed,
    successful,
    failed,
    last_error: lastError?.message ?? (state === "cancelled" ? "The upload was cancelled" : null),
    errors: errors.map(({ key, error }) => ({ id: key, error: error.message })),
    started_at: toTime(times.startedAt ?? times.createdAt),
    updated_at: toTime(times.finishedAt ?? times.startedAt ?? times.createdAt),
    finished_at: times.finishedAt === undefined ? null : toTime(times.finishedAt),
  };
}

function toTime(ms: number): string {
  return new Date(ms).toISOString();
}
