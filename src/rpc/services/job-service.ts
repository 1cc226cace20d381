import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { JobKind, type JobService, JobState } from "../../../gen/quiver/v1/job_service_pb.ts";
import type * as domain from "../../engine/engine.ts";
import { invalidField, QuiverError } from "../../errors.ts";
import type { Service } from "../../service/service.ts";
import { callerOf, notePlace } from "../call.ts";
import { fromOnDuplicate, toVectorInput } from "../convert.ts";
import { toStatus } from "../error.ts";

export function jobService({ jobs }: Service): Partial<ServiceImpl<typeof JobService>> {
  return {
    async startUpload(request, context) {
      const job = await jobs.start(callerOf(context), {
        ...request,
        vectors: request.vectors.map(toVectorInput),
        onDuplicate: fromOnDuplicate(request.onDuplicate) ?? "error",
      });
      return { job: toJob(job) };
    },
    async getJob({ jobId }, context) {
      return { job: toJob(await jobs.get(callerOf(context), jobId)) };
    },
    async listJobs(request, context) {
      const { items, nextToken } = await jobs.list(callerOf(context), { ...request, state: fromState(request.state) });
      return { jobs: items.map(toJob), nextToken };
    },
    async cancelJob({ jobId }, context) {
      return { job: toJob(await jobs.cancel(callerOf(context), jobId)) };
    },
    async *watchJob({ jobId }, context) {
      notePlace(context, { jobId });
      for await (const job of jobs.watch(callerOf(context), jobId, context.signal)) yield { job: toJob(job) };
    },
  };
}

const STATES: Readonly<Record<domain.JobState, JobState>> = {
  running: JobState.RUNNING,
  completed: JobState.COMPLETED,
  failed: JobState.FAILED,
  cancelled: JobState.CANCELLED,
};

function toJob(job: domain.JobRecord) {
  const { partition, lastError, startedAt, finishedAt } = job;
  return {
    jobId: job.jobId,
    state: STATES[job.state],
    total: BigInt(job.total),
    processed: BigInt(job.successful + job.failed),
    successful: BigInt(job.successful),
    failed: BigInt(job.failed),
    ...(lastError && { lastError: toJobStatus(lastError) }),
    createTime: timestampFromMs(job.createdAt),
    ...(startedAt !== undefined && { startTime: timestampFromMs(startedAt) }),
    ...(finishedAt !== undefined && { finishTime: timestampFromMs(finishedAt) }),
    kind: JobKind.UPLOAD,
    vectorBucketName: partition.bucket,
    indexName: partition.index,
    namespace: partition.namespace,
    errors: job.errors.map(({ position, key, error }) => ({
      position: BigInt(position),
      // A key that is no valid Unicode cannot be sent as it is.
      key: key.toWellFormed(),
      status: toJobStatus(error),
    })),
    lsn: BigInt(job.lsn),
  };
}

function toJobStatus({ reason, message, ...options }: domain.StoredError) {
  return toStatus(new QuiverError(reason, message, options));
}

/** Undefined for JOB_STATE_UNSPECIFIED, which asks for jobs in any state. */
function fromState(state: JobState): domain.JobState | undefined {
  if (state === JobState.UNSPECIFIED) return undefined;
  const names = Object.keys(STATES) as domain.JobState[];
  const name = names.find((each) => STATES[each] === state);
  if (name === undefined) throw invalidField("state", `Must be a state of a job, got ${state}`);
  return name;
}
