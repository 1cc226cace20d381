import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, globSync, readdirSync, readFileSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/grpc/health/v1/health_pb.ts";
import type { Backup } from "../../gen/quiver/v1/admin_service_pb.ts";
import { JobState, ListJobsResponseSchema } from "../../gen/quiver/v1/job_service_pb.ts";
import { ListNamespacesResponseSchema } from "../../gen/quiver/v1/namespace_service_pb.ts";
import { DataType, DistanceMetric, type Vector, type VectorSchema } from "../../gen/quiver/v1/resources_pb.ts";
import { QueryVectorsResponseSchema } from "../../gen/quiver/v1/vector_service_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { failureOf } from "../support/resources.ts";
import { ServerProcess, startServer } from "../support/server.ts";
import { smallDisk } from "../support/small-disk.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

type VectorInit = MessageInitShape<typeof VectorSchema>;

const DIMENSION = 12;
const INDEX = { vectorBucketName: "library", indexName: "books" };
const NAMESPACES = ["", "tenant-a"];
const main = resolve(import.meta.dirname, "../../src/main.ts");

const clientsOf = (url: string): Clients => createClients((PROTOCOLS.gRPC as NonNullable<typeof PROTOCOLS.gRPC>)(url));

/** Runs a command as a user does; the exit code, and what it printed. */
function quiver(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((done) => {
    execFile(process.execPath, [main, ...args], (error, out, err) =>
      done({ code: Number(error?.code ?? 0), out, err }),
    );
  });
}

function vectorOf(random: Random, key: string): VectorInit {
  return {
    key,
    data: { float32: [...random.vector(DIMENSION)] },
    sparse: { indices: [2, 30, 400], values: [...random.vector(3)] },
    metadata: { title: `title of ${key}`, year: 1900 + random.below(120), tags: ["a", key], __proto__x: true },
  };
}

/** Fills a server; what it must hold then, by namespace and key. */
async function fill(clients: Clients, random: Random, count: number): Promise<Map<string, VectorInit>> {
  const { buckets, indexes, vectors, jobs, tags } = clients;
  const { vectorBucketArn } = await buckets.createVectorBucket({
    vectorBucketName: "library",
    tags: { team: "search" },
  });
  await indexes.createIndex({
    ...INDEX,
    dataType: DataType.FLOAT32,
    dimension: DIMENSION,
    distanceMetric: DistanceMetric.DOT_PRODUCT,
  });
  await tags.tagResource({ resourceArn: vectorBucketArn, tags: { shelf: "7" } });
  await clients.namespaces.createNamespace({ ...INDEX, namespace: "empty" });
  const model = new Map<string, VectorInit>();
  for (const namespace of NAMESPACES) {
    const put = Array.from({ length: count }, (_, i) => vectorOf(random, `key-${i}`));
    for (let at = 0; at < count; at += 500) {
      await vectors.putVectors({ ...INDEX, namespace, vectors: put.slice(at, at + 500) });
    }
    for (const vector of put) model.set(`${namespace}/${vector.key}`, vector);
    await vectors.deleteVectors({ ...INDEX, namespace, keys: ["key-1"] });
    model.delete(`${namespace}/key-1`);
  }
  const uploaded = vectorOf(random, "uploaded");
  const { job } = await jobs.startUpload({ ...INDEX, vectors: [uploaded] });
  const jobId = job?.jobId ?? "";
  await until(async () => (await jobs.getJob({ jobId })).job?.state === JobState.COMPLETED);
  model.set("/uploaded", uploaded);
  return model;
}

/** Every vector of a server, as the model has it. */
async function stored({ vectors }: Clients): Promise<Map<string, VectorInit>> {
  const found = new Map<string, VectorInit>();
  for (const namespace of NAMESPACES) {
    const parts = vectors.exportVectors({ ...INDEX, namespace, returnData: true, returnMetadata: true });
    for await (const part of parts)
      for (const vector of part.vectors) found.set(`${namespace}/${vector.key}`, plain(vector));
  }
  return found;
}

function plain({ key, data, sparse, metadata }: Vector): VectorInit {
  return {
    key,
    data: { float32: [...(data?.float32 ?? [])] },
    sparse: { indices: [...(sparse?.indices ?? [])], values: [...(sparse?.values ?? [])] },
    metadata: metadata ?? {},
  };
}

/** What else a server answers, the same for the same content. */
async function answersOf({ namespaces, jobs, buckets, indexes, vectors }: Clients, query: number[]) {
  const search = { search: { mode: { case: "exact", value: true } } } as const;
  const answers = NAMESPACES.map((namespace) =>
    vectors.queryVectors({
      ...INDEX,
      namespace,
      queryVector: { float32: query },
      topK: 50,
      returnDistance: true,
      returnMetadata: true,
      ...search,
    }),
  );
  return {
    namespaces: toJson(ListNamespacesResponseSchema, await namespaces.listNamespaces(INDEX)),
    jobs: toJson(ListJobsResponseSchema, await jobs.listJobs({})),
    bucket: await buckets.getVectorBucket({ vectorBucketName: "library" }),
    index: await indexes.getIndex(INDEX),
    found: (await Promise.all(answers)).map((answer) => toJson(QueryVectorsResponseSchema, answer)),
  };
}

test("a server restored from a backup answers as the one that was backed up, bit for bit", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const server = await startServer(t);
  const clients = clientsOf(server.url);
  const model = await fill(clients, random, 1_200);
  const query = [...random.vector(DIMENSION)];
  const before = await answersOf(clients, query);
  const { code, out, err } = await quiver("backup", "--url", server.url, "--name", "nightly");
  assert.equal(code, 0, err);
  const [, id = "", path = "", bytes = "", lsn = ""] =
    /^backup +(\S+)\npath +(\S+)\nbytes +(\d+)\nlsn +(\d+)\n$/.exec(out) ?? assert.fail(out);
  await clients.vectors.putVectors({ ...INDEX, vectors: [vectorOf(random, "key-0"), vectorOf(random, "later")] });

  const { backups, nextToken } = await clients.admin.listBackups({});
  assert.deepEqual([backups.length, nextToken], [1, ""]);
  const backup = backups[0] as Backup;
  const { serverInfo } = await clients.admin.getServerInfo({});
  assert.deepEqual(
    [
      backup.backupId,
      backup.displayName,
      backup.path,
      `${backup.sizeBytes}`,
      `${backup.lsn}`,
      backup.storageFormatVersion,
    ],
    [id, "nightly", path, bytes, lsn, serverInfo?.formats?.storage],
  );
  assert.equal(path, join(server.data, "backups", id));
  const sizes = readdirSync(join(path, "data")).map((name) => statSync(join(path, "data", name)).size);
  assert.equal(
    sizes.reduce((sum, size) => sum + size),
    Number(bytes),
  );

  const checked = await quiver("verify", path);
  assert.deepEqual([checked.code, checked.err], [0, ""], checked.out);
  const data = join(temporaryDirectory(), "restored");
  const restored = await quiver("restore", path, "--data", data);
  assert.equal(restored.code, 0, restored.err);
  const again = await ServerProcess.start(data);
  t.after(() => again.kill());
  const restoredClients = clientsOf(again.url);
  assert.equal((await restoredClients.admin.getServerInfo({})).serverInfo?.lsn, BigInt(lsn));
  assert.deepEqual(await stored(restoredClients), model);
  assert.deepEqual(await answersOf(restoredClients, query), before);
  assert.notDeepEqual(await stored(clients), model);
  // It takes writes, and lives through a crash.
  await restoredClients.vectors.putVectors({ ...INDEX, vectors: [vectorOf(random, "after")] });
  assert.equal((await restoredClients.admin.verifyStorage({})).intact, true);
});

test("backups are made and listed, and storage verified, in every protocol", async (t) => {
  const { url } = await startServer(t);
  const made: string[] = [];
  for (const [name, transport] of Object.entries(PROTOCOLS)) {
    const { admin } = createClients(transport(url));
    made.push((await admin.createBackup({ displayName: name })).backup?.backupId ?? "");
    const { backups } = await admin.listBackups({});
    assert.deepEqual(
      backups.map(({ backupId }) => backupId),
      made,
    );
    const { intact, problems, lsn } = await admin.verifyStorage({});
    assert.deepEqual([intact, problems, lsn], [true, [], 0n]);
  }
  assert.deepEqual(made.toSorted(), made);
  const { admin } = clientsOf(url);
  const pages: string[] = [];
  for (let nextToken = "", more = true; more; more = nextToken !== "") {
    const page = await admin.listBackups({ maxResults: 3, nextToken });
    pages.push(...page.backups.map(({ backupId }) => backupId));
    nextToken = page.nextToken;
  }
  assert.deepEqual(pages, made);
  const [last = ""] = made.slice(-1);
  assert.deepEqual((await admin.listBackups({ prefix: last })).backups.length, 1);
  await failureOf(admin.listBackups({ nextToken: "none" }), Code.InvalidArgument, "PAGE_TOKEN_INVALID");
  await failureOf(
    admin.verifyStorage({ vectorBucketName: "none", indexName: "none" }),
    Code.NotFound,
    "BUCKET_NOT_FOUND",
  );
  await failureOf(admin.verifyStorage({ vectorBucketName: "none" }), Code.InvalidArgument, "INVALID_FIELD");
});

test("damage is told of by verify, as an answer and as an exit code", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const server = await startServer(t);
  const clients = clientsOf(server.url);
  await fill(clients, random, 300);
  const intact = await quiver("verify", "--url", server.url);
  assert.deepEqual([intact.code, intact.err], [0, ""], intact.out);
  const locked = await quiver("verify", "--data", server.data);
  assert.deepEqual([locked.code, locked.out], [3, ""]);
  assert.match(locked.err, /^quiver: .*VerifyStorage\n$/);

  const [table = ""] = globSync("*.sst", { cwd: server.data });
  const file = join(server.data, table);
  const bytes = readFileSync(file);
  // Its last bytes hold zeros that nothing reads.
  const at = random.below(bytes.length - 53);
  bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
  writeFileSync(file, bytes);
  const answer = await clients.admin.verifyStorage({});
  assert.equal(answer.intact, false);
  const problem =
    answer.problems.find((each) => each.file === table) ?? assert.fail(`${answer.problems.map((each) => each.file)}`);
  assert.equal(problem.status?.code, Code.DataLoss);
  const running = await quiver("verify", "--url", server.url);
  assert.equal(running.code, 4, running.err);
  const lines = running.out.split("\n").filter((line) => line.includes(table));
  const place = problem.indexName === "" ? "-" : `${problem.vectorBucketName}/${problem.indexName}`;
  assert.deepEqual(
    lines.map((line) => line.split("  ").slice(0, 3)),
    [["damaged", table, place]],
  );
  assert.doesNotMatch(running.out, /checkpoint-/);
  await failureOf(clients.admin.createBackup({}), Code.DataLoss, "CORRUPTION");
  assert.deepEqual((await clients.admin.listBackups({})).backups, []);
  const readiness = await fetch(`${server.url}/readyz`);
  const { storage, problems } = (await readiness.json()) as { storage: string; problems: { message: string }[] };
  assert.deepEqual([readiness.status, storage], [200, "failed"]);
  assert.ok(problems.some(({ message }) => message.includes(table)));
  const health = createClient(Health, PROTOCOLS.gRPC?.(server.url) ?? assert.fail());
  assert.equal((await health.check({ service: "storage" })).status, Status.NOT_SERVING);
  const told = () => server.complaints.split("\n").filter((line) => line.includes(`"file":"${table}"`));
  // Two verifications, one backup.
  await until(() => told().length === 3);
  for (const line of told()) {
    const { level, reason, msg } = JSON.parse(line);
    assert.deepEqual([level, reason], ["error", "CORRUPTION"]);
    assert.ok(msg.includes(table) && line.length < 700 && !line.includes("stack"), line);
  }
  await server.stop();
  const stopped = await quiver("verify", "--data", server.data);
  assert.equal(stopped.code, 4, stopped.err);
  assert.ok(`${stopped.out}${stopped.err}`.includes(table), `${stopped.out}${stopped.err}`);
});

test("wrong calls of the commands are one sentence, and nothing is made", async () => {
  const directory = temporaryDirectory();
  const none = join(directory, "none");
  const calls: [string[], number, RegExp][] = [
    [["restore"], 2, /Which backup/],
    [["restore", none], 2, /--data/],
    [["restore", none, "--data", join(directory, "new")], 4, /is no backup/],
    [["verify"], 2, /Give one of/],
    [["verify", none, "--data", none], 2, /Give one of/],
    [["verify", "--data", none], 2, /There are no data/],
    [["verify", "--data", directory], 2, /There are no data/],
    [["verify", none], 4, /is no backup/],
    [["backup", "--url", "http://127.0.0.1:1"], 2, /No Quiver server answers/],
    [["backup", "--url", "nonsense"], 2, /must be a URL/],
    [["backup", "--what"], 2, /--help lists/],
    [["nonsense"], 2, /There is no command "nonsense"/],
  ];
  const ended = await Promise.all(calls.map(([args]) => quiver(...args)));
  for (const [i, { code, out, err }] of ended.entries()) {
    const [args, expected, message] = calls[i] as (typeof calls)[number];
    assert.deepEqual([code, out], [expected, ""], `${args}: ${err}`);
    assert.match(err, message);
    assert.equal(err.trimEnd().split("\n").length, 1, err);
  }
  assert.deepEqual(readdirSync(directory), []);
});

test("a server that is killed in the middle of a backup starts clean, and lists no half of one", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const data = temporaryDirectory();
  const env = { QUIVER_TEST_FAILPOINTS: "after-copy-file=pause:60000@2" };
  const server = await ServerProcess.start(data, [], { env });
  t.after(() => server.kill());
  const clients = clientsOf(server.url);
  const model = await fill(clients, random, 300);
  const failed = assert.rejects(clients.admin.createBackup({}));
  const copied = () => globSync("backups/*.tmp/data/*", { cwd: data }).length;
  await until(() => copied() >= 2);
  await server.kill();
  await failed;
  assert.ok(existsSync(join(data, "checkpoint-backup")));
  const again = await ServerProcess.start(data);
  t.after(() => again.kill());
  assert.deepEqual(readdirSync(join(data, "backups")), []);
  assert.deepEqual(globSync("checkpoint*", { cwd: data }), []);
  const restarted = clientsOf(again.url);
  assert.deepEqual((await restarted.admin.listBackups({})).backups, []);
  assert.deepEqual(await stored(restarted), model);
  const { backup } = await restarted.admin.createBackup({});
  assert.equal((await quiver("verify", backup?.path ?? "")).code, 0);
});

test("a disk that is full, or gets full in the middle, ends a backup with DISK_FULL, and nothing is left", async (t) => {
  const disk = smallDisk(t, 48, import.meta.filename);
  if (disk === undefined) return;
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const backups = join(disk, "backups");
  const env = { QUIVER_TEST_FAILPOINTS: "after-copy-file=pause:3000@1" };
  const server = await ServerProcess.start(temporaryDirectory(), ["--backups", backups], { env });
  t.after(() => server.kill());
  const clients = clientsOf(server.url);
  await fill(clients, random, 2_000);
  const filler = join(disk, "filler");
  const failed = failureOf(clients.admin.createBackup({}), Code.ResourceExhausted, "DISK_FULL");
  await until(() => globSync("*.tmp/data/*", { cwd: backups }).length > 0);
  const { bavail, bsize } = statfsSync(disk);
  assert.throws(() => writeFileSync(filler, Buffer.alloc((bavail + 1) * bsize)), { code: "ENOSPC" });
  await failed;
  assert.deepEqual(readdirSync(backups), []);
  // And before anything is copied.
  await failureOf(clients.admin.createBackup({}), Code.ResourceExhausted, "DISK_FULL");
  assert.deepEqual(readdirSync(backups), []);
  assert.deepEqual(globSync("checkpoint*", { cwd: server.data }), []);
  writeFileSync(filler, "");
  const { backup } = await clients.admin.createBackup({});
  assert.equal((await quiver("verify", backup?.path ?? "")).code, 0);
  const { serverInfo } = await clients.admin.getServerInfo({});
  assert.equal(serverInfo?.readOnly, false);
});
