import assert from "node:assert/strict";
import { basename } from "node:path";
import { Code, ConnectError } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { IndexState } from "../../gen/quiver/v1/index_service_pb.ts";
import { JobState } from "../../gen/quiver/v1/job_service_pb.ts";
import { assertAnswer, assertVectors, candidatesOf } from "../model/compare.ts";
import { compareKeys, type StoredVector } from "../model/model.ts";
import { type Clients, createClients } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { until } from "../support/until.ts";
import { BUCKET, type DamageModel, type ModelPartition, place, rememberedPut } from "./damage-model.ts";

/** What a server did with damaged files, best first; a case is the worst of its calls. */
export const OUTCOMES = [
  "right",
  "failed",
  "refused",
  "elsewhere",
  "unnamed",
  "other",
  "hang",
  "signal",
  "silent",
] as const;

/**
 * right: every answer is; failed: all that is not right is DATA_LOSS that names the file; refused: the same at the start;
 * elsewhere: DATA_LOSS that names another file, in which the damage was noticed; unnamed: DATA_LOSS that names no file; other: another error; silent: an answer that is wrong, short or old.
 */
export type Outcome = (typeof OUTCOMES)[number];

export interface Verdict {
  readonly outcome: Outcome;
  /** What was said, or what was wrong. */
  readonly detail: string;
}

/** Asks a server for all that it has acknowledged, in every way. `files` are the names of the damaged ones. */
export async function checkAnswers(url: string, model: DamageModel, files: readonly string[]): Promise<Verdict> {
  const sessionManager = new Http2SessionManager(url);
  const clients = createClients(createGrpcTransport({ baseUrl: url, sessionManager }));
  try {
    const verdicts: Verdict[] = [];
    for (const check of checksOf(clients, model)) verdicts.push(await verdictOf(check, files));
    return verdicts.reduce(worse, { outcome: "right", detail: "" });
  } finally {
    sessionManager.abort();
  }
}

export function worse(a: Verdict, b: Verdict): Verdict {
  return OUTCOMES.indexOf(b.outcome) > OUTCOMES.indexOf(a.outcome) ? b : a;
}

/** What a DATA_LOSS is worth: `named` when it names one of the files, as a path, or by its number. */
export function verdictOfLoss(named: "failed" | "refused", detail: string, files: readonly string[]): Verdict {
  const names = files.map((file) => basename(file).replace(/\.(sst|log)$/, ""));
  if (names.some((name) => detail.includes(name))) return { outcome: named, detail };
  return { outcome: ANY_FILE.test(detail) ? "elsewhere" : "unnamed", detail };
}

const ANY_FILE = /MANIFEST-\d+|\d{6}\.(sst|ldb|log)|CURRENT|ACKNOWLEDGED|graphs\//;

async function verdictOf(check: () => Promise<void>, files: readonly string[]): Promise<Verdict> {
  try {
    await check();
    return { outcome: "right", detail: "" };
  } catch (thrown) {
    if (thrown instanceof assert.AssertionError) return { outcome: "silent", detail: thrown.message };
    const { code, message } = ConnectError.from(thrown);
    if (code === Code.NotFound) return { outcome: "silent", detail: message };
    if (code !== Code.DataLoss) return { outcome: "other", detail: message };
    return verdictOfLoss("failed", message, files);
  }
}

function checksOf(clients: Clients, model: DamageModel): (() => Promise<void>)[] {
  const indexes = new Set(model.partitions.map(({ index }) => index));
  return [
    () => checkCatalog(clients, model),
    ...[...indexes].map((index) => () => checkIndex(clients, model, index)),
    ...model.partitions.flatMap((partition) => [
      () => checkList(clients, partition),
      () => checkGet(clients, partition),
      () => checkFilter(clients, partition),
      () => checkQueries(clients, partition),
    ]),
    () => checkChanges(clients, model),
    // The only one that writes.
    async () => {
      const { lsn } = await clients.vectors.putVectors(rememberedPut(model, model.remembered.data));
      assert.equal(lsn, model.remembered.lsn, "the answer to a repeated put");
    },
  ];
}

async function checkCatalog({ buckets, indexes, tags, jobs }: Clients, model: DamageModel): Promise<void> {
  const { vectorBuckets } = await buckets.listVectorBuckets({});
  assert.deepEqual(
    vectorBuckets.map(({ vectorBucketName, tags }) => [vectorBucketName, tags]),
    [[BUCKET, { made: "by a test" }]],
  );
  const listed = await indexes.listIndexes({ vectorBucketName: BUCKET });
  assert.deepEqual(
    listed.indexes.map(({ indexName, dimension }) => [indexName, dimension]),
    [
      ["dense", 12],
      ["sparse", 8],
    ],
  );
  assert.deepEqual((await tags.listTagsForResource({ resourceArn: model.sparseArn })).tags, model.tags);
  assert.equal((await buckets.getVectorBucketPolicy({ vectorBucketName: BUCKET })).policy, model.policy);
  assert.equal((await jobs.getJob({ jobId: model.jobId })).job?.state, JobState.COMPLETED);
}

/** Its namespaces and their sizes; and waits until its graphs are what they will be. */
async function checkIndex({ indexes, namespaces }: Clients, model: DamageModel, index: string): Promise<void> {
  const partitions = model.partitions.filter((partition) => partition.index === index);
  const listed = await namespaces.listNamespaces(place({ index, namespace: "" }));
  assert.deepEqual(
    listed.namespaces.map(({ namespace, vectorCount }) => [namespace, Number(vectorCount)]),
    partitions.map(({ namespace, vectors }) => [namespace, vectors.size]),
  );
  await until(async () => {
    const { state } = await indexes.getIndexStats(place({ index, namespace: "" }));
    return state === IndexState.READY || state === IndexState.FAILED;
  });
}

async function checkList({ vectors }: Clients, partition: ModelPartition): Promise<void> {
  const all = { returnData: true, returnMetadata: true };
  assertVectors(await listAll(vectors, { ...place(partition), ...all }), sorted(partition), all);
}

async function checkGet({ vectors }: Clients, partition: ModelPartition): Promise<void> {
  const all = { returnData: true, returnMetadata: true };
  const some = sorted(partition).filter((_, i) => i % 10 === 0);
  const keys = ["never put", ...some.map(({ key }) => key)];
  assertVectors((await vectors.getVectors({ ...place(partition), ...all, keys })).vectors, some, all);
}

async function checkFilter({ vectors }: Clients, partition: ModelPartition): Promise<void> {
  const found = await listAll(vectors, { ...place(partition), filter: { even: true } });
  const expected = sorted(partition).filter(({ metadata }) => metadata.even === true);
  assert.deepEqual(
    found.map(({ key }) => key),
    expected.map(({ key }) => key),
  );
}

async function listAll(vectors: Clients["vectors"], request: object) {
  const found = [];
  let nextToken = "";
  do {
    const page = await vectors.listVectors({ ...request, maxResults: 1_000, nextToken });
    found.push(...page.vectors);
    nextToken = page.nextToken;
  } while (nextToken !== "");
  return found;
}

async function checkQueries({ vectors }: Clients, partition: ModelPartition): Promise<void> {
  const random = new Random(7);
  const stored = sorted(partition);
  const projection = { returnDistance: true, returnMetadata: true, returnData: false };
  for (let i = 0; i < 4; i++) {
    const data = random.vector(partition.dimension);
    const sparse = { indices: [2 * i, 2 * i + 7, 40], values: [...random.vector(3)] };
    const isSparse = partition.index === "sparse" && i % 2 === 1;
    const exact = i < 2;
    const target = isSparse ? { querySparse: sparse } : { queryVector: { float32: [...data] } };
    const mode = exact ? { search: { mode: { case: "exact" as const, value: true } } } : {};
    const answer = await vectors.queryVectors({ ...place(partition), ...target, ...mode, ...projection, topK: 20 });
    const query = { metric: partition.metric, ...(isSparse ? { sparse } : { data }) };
    const candidates = candidatesOf(query, stored);
    assertAnswer(answer.vectors, { ...projection, candidates, topK: 20, exact });
  }
}

/** What the log of changes tells of the last writes is what is stored. */
async function checkChanges({ vectors }: Clients, model: DamageModel): Promise<void> {
  const [partition] = model.partitions as [ModelPartition];
  let newest = 0n;
  for (const { version } of partition.vectors.values()) if (version > newest) newest = version;
  const expected = sorted(partition).filter(({ version }) => version === newest);
  const found = new Map<string, bigint>();
  const watch = vectors.watchVectors({ ...place(partition), fromLsn: newest }, { timeoutMs: 20_000 });
  for await (const { change } of watch) {
    if (change?.change.case !== "put") continue;
    found.set(change.change.value.key, change.change.value.version);
    if (found.size === expected.length) break;
  }
  assert.deepEqual(
    [...found].sort(([a], [b]) => compareKeys(a, b)),
    expected.map(({ key, version }) => [key, version]),
  );
}

function sorted({ vectors }: ModelPartition): StoredVector[] {
  return [...vectors.values()].sort((a, b) => compareKeys(a.key, b.key));
}
