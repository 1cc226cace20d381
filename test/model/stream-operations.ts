import assert from "node:assert/strict";
import { toBinary } from "@bufbuild/protobuf";
import { type Job, JobSchema, JobState } from "../../gen/quiver/v1/job_service_pb.ts";
import { OnDuplicate } from "../../gen/quiver/v1/resources_pb.ts";
import type { Clients } from "../support/protocols.ts";
import type { PartitionModel, Place, StoredVector } from "./model.ts";
import { type Context, createOperation, type Operation } from "./operation.ts";
import { indexFields, pickPlace, placeFields } from "./places.ts";
import { chance, listOf } from "./values.ts";
import { type FaultyVector, faultyVector, randomVector, store, type VectorRequest } from "./vector-requests.ts";

/** Vectors of which some are refused; by position, as the server counts them. */
interface Batch {
  readonly vectors: readonly VectorRequest[];
  /** Reasons by position in the batch. */
  readonly faults: ReadonlyMap<number, string>;
}

function randomBatch({ random, model }: Context, place: Place, counts: readonly [number, number]): Batch {
  const index = model.findIndex(place);
  const faults = new Map<number, string>();
  let empty = false;
  const vectors = listOf(random, counts, () => randomVector(random, index)).map((vector, i) => {
    if (!index || i === 0 || !chance(random, 0.1)) return vector;
    const fault: FaultyVector = faultyVector(random, index);
    if (fault.vector.key === "" && empty) return vector;
    empty ||= fault.vector.key === "";
    faults.set(i, fault.reason);
    // An empty key stands once only: a second one would be a duplicate, too.
    return { ...fault.vector, key: fault.vector.key === "" ? "" : `faulty${i}` };
  });
  return { vectors, faults };
}

/** The later of two vectors with one key is refused, or replaces the first. */
function withDuplicates({ vectors, faults }: Batch, lastWins: boolean): Batch {
  if (lastWins) return { vectors, faults };
  const all = new Map(faults);
  const seen = new Set<string>();
  for (const [i, { key }] of vectors.entries()) {
    if (seen.has(key) && !all.has(i)) all.set(i, "DUPLICATE_KEY");
    seen.add(key);
  }
  return { vectors, faults: all };
}

function acceptedOf({ vectors, faults }: Batch): VectorRequest[] {
  return vectors.filter((_, i) => !faults.has(i));
}

export function importVectors(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context);
  const lastWins = chance(random, 0.5);
  const batches = listOf(random, [1, 4], () => withDuplicates(randomBatch(context, place, [1, 5]), lastWins));
  const first = {
    ...placeFields(context, place),
    onDuplicate: lastWins ? OnDuplicate.LAST_WINS : OnDuplicate.ERROR,
  };
  const messages = batches.map(({ vectors }, i) => ({ ...(i === 0 && first), vectors: [...vectors] }));
  return createOperation({
    method: "VectorService/ImportVectors",
    request: { messages },
    place,
    effect: "alone",
    call: (clients) =>
      clients.vectors.importVectors(
        (async function* () {
          yield* messages;
        })(),
      ),
    refusal: () => model.missingIndex(place),
    accept: async ({ lsn, putCount, failedCount, errors }, clients) => {
      const stored = batches.map((batch) => new Map(acceptedOf(batch).map((vector) => [vector.key, vector])));
      assert.equal(
        Number(putCount),
        stored.reduce((sum, { size }) => sum + size, 0),
        "put_count",
      );
      let sent = 0;
      const positions = batches.flatMap(({ vectors, faults }) => {
        const found = [...faults.keys()].map((position) => position + sent);
        sent += vectors.length;
        return found;
      });
      assert.equal(Number(failedCount), positions.length, "failed_count");
      assert.deepEqual(
        errors.map(({ position }) => Number(position)).sort((a, b) => a - b),
        positions.sort((a, b) => a - b),
      );
      const partition = model.openPartition(place);
      for (const vectors of stored) for (const vector of vectors.values()) store(partition, vector, lsn);
      model.wrote(partition, lsn);
      await adoptVersions(context, { place, keys: stored.flatMap((vectors) => [...vectors.keys()]), lsn }, clients);
    },
  });
}

/** The versions of vectors that came with several writes: only the last one's lsn was answered. */
async function adoptVersions(
  context: Context,
  { place, keys, lsn }: { place: Place; keys: readonly string[]; lsn: bigint },
  clients: Clients,
): Promise<void> {
  const distinct = [...new Set(keys)];
  const request = { vectorBucketName: place.bucket, indexName: place.index, namespace: place.namespace };
  const { vectors } = await clients.vectors.getVectors({ ...request, keys: distinct });
  assert.deepEqual(
    vectors.map(({ key }) => key),
    distinct,
    "what was stored",
  );
  const partition = context.model.findPartition(place) as PartitionModel;
  for (const { key, version } of vectors) {
    assert.ok(version > context.floor && version <= lsn, `version ${version} of ${key}, written up to ${lsn}`);
    partition.vectors.set(key, { ...(partition.vectors.get(key) as StoredVector), version });
  }
}

/** Starts an upload and follows it to its end. */
export function startUpload(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context);
  const batch = randomBatch(context, place, [1, 12]);
  const distinct = new Set(batch.vectors.map(({ key }) => key)).size === batch.vectors.length;
  const onDuplicate = chance(random, 0.8) ? OnDuplicate.LAST_WINS : OnDuplicate.ERROR;
  const request = { ...placeFields(context, place), vectors: [...batch.vectors], onDuplicate };
  return createOperation({
    method: "JobService/StartUpload",
    request,
    place,
    effect: "alone",
    call: async (clients) => {
      const { job } = await clients.jobs.startUpload(request);
      assert.ok(job);
      let last: Job = job;
      for await (const { job: next } of clients.jobs.watchJob({ jobId: job.jobId })) {
        assert.ok(next && next.processed >= last.processed, "progress goes on");
        last = next;
      }
      const { job: got } = await clients.jobs.getJob({ jobId: job.jobId });
      assert.ok(got);
      assert.deepEqual(toBinary(JobSchema, got), toBinary(JobSchema, last));
      return last;
    },
    refusal: () =>
      model.missingIndex(place) ?? (!distinct && onDuplicate === OnDuplicate.ERROR ? "DUPLICATE_KEY" : undefined),
    accept: async (job, clients) => {
      const { faults } = batch;
      assert.equal(job.state, JobState.COMPLETED, `state ${job.state}: ${job.lastError?.message}`);
      assert.equal(Number(job.failed), faults.size, "failed");
      assert.deepEqual([job.successful + job.failed, job.processed], [job.processed, job.total]);
      assert.deepEqual(
        job.errors.map(({ position }) => Number(position)),
        [...faults.keys()],
      );
      assert.deepEqual(
        [job.vectorBucketName, job.indexName, job.namespace],
        [place.bucket, place.index, place.namespace],
      );
      const vectors = new Map(acceptedOf(batch).map((vector) => [vector.key, vector]));
      if (distinct) assert.equal(Number(job.successful), vectors.size, "successful");
      const partition = model.openPartition(place);
      for (const vector of vectors.values()) store(partition, vector, job.lsn);
      model.wrote(partition, job.lsn);
      model.jobs.set(job.jobId, place);
      await adoptVersions(context, { place, keys: [...vectors.keys()], lsn: job.lsn }, clients);
    },
  });
}

export function cancelFinishedJob(context: Context): Operation {
  const { random, model } = context;
  const jobId = random.pick([...model.jobs.keys(), "none"]);
  return createOperation({
    method: "JobService/CancelJob",
    request: { jobId },
    effect: "alone",
    call: (clients) => clients.jobs.cancelJob({ jobId }),
    refusal: () => (model.jobs.has(jobId) ? "JOB_FINISHED" : "JOB_NOT_FOUND"),
    accept: () => assert.fail("a job that is finished cannot be cancelled"),
  });
}

export function listJobs(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context);
  const ofIndex = chance(random, 0.5) && model.findIndex(place) !== undefined;
  const fields = ofIndex ? indexFields(context, place) : {};
  const maxResults = chance(random, 0.5) ? 1 + random.below(20) : 0;
  const request = {
    ...fields,
    maxResults,
    state: random.pick([JobState.UNSPECIFIED, JobState.COMPLETED, JobState.RUNNING]),
  };
  return createOperation({
    method: "JobService/ListJobs",
    request,
    effect: "alone",
    call: async (clients) => {
      const jobs: Job[] = [];
      for (let nextToken = "", page = 0; page === 0 || nextToken !== ""; page++) {
        const answer = await clients.jobs.listJobs({ ...request, nextToken });
        jobs.push(...answer.jobs);
        nextToken = answer.nextToken;
      }
      return { jobs };
    },
    refusal: () => undefined,
    accept: ({ jobs }) => {
      const found = jobs.map(({ jobId }) => jobId);
      assert.deepEqual(found, found.toSorted(), "jobs by job_id");
      const known = [...model.jobs].filter(
        ([, { bucket, index }]) => !ofIndex || (bucket === place.bucket && index === place.index),
      );
      const expected = request.state === JobState.RUNNING ? [] : known.map(([jobId]) => jobId);
      const isKnown = new Set(expected);
      assert.deepEqual(
        found.filter((jobId) => isKnown.has(jobId)),
        expected.sort(),
      );
      if (request.state === JobState.RUNNING) assert.deepEqual(found, []);
    },
  });
}
