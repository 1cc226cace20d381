import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { before, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AdminService } from "../../gen/quiver/v1/admin_service_pb.ts";
import { readAcknowledged } from "../../src/engine/embedded/storage/acknowledged.ts";
import { createClients } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { checkAnswers, OUTCOMES, type Outcome, type Verdict, verdictOfLoss } from "./damage-check.ts";
import type { DamageCase } from "./damage-child.ts";
import { copyDirectory, DAMAGES, type Damage, damage, filesIn, KINDS, type Kind, kindOf } from "./damage-files.ts";
import { BUCKET, changeVectors, createModel, type DamageModel, fillCatalog } from "./damage-model.ts";

const CASES = rounds("DAMAGES", { quick: 60, full: 2_000 });
/** One case in so many runs in a server process of its own, as a user starts it. */
const OWN_PROCESS = 20;
const HANG_MS = 60_000;
/** Starts of the server while the directory is filled: each writes a table out of the log of the one before. */
const STARTS = 7;
const BATCH = 120;
const BAD: readonly Outcome[] = ["unnamed", "other", "hang", "signal", "silent"];

/** A data directory and what is in it. */
interface Origin {
  readonly name: string;
  readonly directory: string;
  readonly model: DamageModel;
}

const seeded = new Random();
let origins: readonly Origin[];

before(async () => {
  origins = await makeOrigins(temporaryDirectory());
});

test("what a server makes of damaged files is right, or refused with DATA_LOSS that names the file", async (t) => {
  t.diagnostic(`seed ${seeded.seed}, ${CASES} cases`);
  const digests = origins.map(({ directory }) => digestOf(directory));
  const table = new Map<string, Map<Outcome, number>>();
  const bad: string[] = [];
  const numbers = Array.from({ length: CASES }, (_, i) => i);
  const worker = async () => {
    const child = new Child(t);
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      const { what, row, verdict } = await runCase(child, number);
      const counts = table.get(row) ?? new Map<Outcome, number>();
      table.set(row, counts.set(verdict.outcome, (counts.get(verdict.outcome) ?? 0) + 1));
      const { outcome, detail } = verdict;
      if (BAD.includes(outcome))
        bad.push(`case ${number}, ${what}: ${outcome}: ${detail.replace(/\s+/g, " ").slice(0, 300)}`);
    }
  };
  await Promise.all([worker(), worker()]);
  for (const line of [...describe(table), ...bad]) t.diagnostic(line);
  assert.deepEqual(
    origins.map(({ directory }) => digestOf(directory)),
    digests,
    "A case has changed the files that all cases begin with",
  );
  assert.equal(bad.length, 0, `${bad.length} cases are bad, see above`);
});

test("files of every kind are damaged, and no file is of an unknown kind", () => {
  const files = origins.flatMap(({ directory }) => filesIn(directory));
  const unknown = files.filter((file) => kindOf(file) === undefined);
  assert.deepEqual(unknown, []);
  const missing = Object.keys(KINDS).filter((kind) => !files.some((file) => kindOf(file) === kind));
  assert.deepEqual(missing, []);
});

test("undamaged files are right, and an answer that the model does not expect is seen as silent", async (t) => {
  const child = new Child(t);
  for (const origin of origins) {
    const check = async (change: (model: DamageModel) => void): Promise<Verdict> => {
      const directory = join(temporaryDirectory(), "data");
      copyDirectory(origin.directory, directory);
      const model = structuredClone(origin.model);
      change(model);
      return child.check({ directory, model, files: [] });
    };
    assert.deepEqual(await check(() => {}), { outcome: "right", detail: "" });
    for (const change of PLANTED) assert.equal((await check(change)).outcome, "silent", String(change));
  }
});

/** What a server would have got wrong if the model were right. */
const PLANTED: readonly ((model: DamageModel) => void)[] = [
  ({ partitions }) => {
    const vector = partitions[1]?.vectors.values().find(({ data }) => data);
    if (vector?.data) vector.data[3] = (vector.data[3] ?? 0) + 1e-6;
  },
  ({ partitions }) => partitions[2]?.vectors.delete([...partitions[2].vectors.keys()][0] ?? ""),
  ({ partitions: [first] }) => {
    const [vector] = first?.vectors.values() ?? [];
    if (vector) first?.vectors.set(vector.key, { ...vector, version: vector.version + 1n });
  },
  ({ tags }) => {
    tags.colour = "red";
  },
];

/** Fills a directory with a server, over several starts; copies it after a clean stop, and after a kill. */
async function makeOrigins(parent: string): Promise<Origin[]> {
  const random = new Random(seeded.seed);
  const data = join(parent, "data");
  const model = createModel();
  const found: Origin[] = [];
  mkdirSync(data);
  const keep = (name: string) => {
    const directory = join(parent, name);
    copyDirectory(data, directory);
    found.push({ name, directory, model: structuredClone(model) });
  };
  for (let start = 0; start < STARTS; start++) {
    const server = await ServerProcess.start(data);
    const transport = createGrpcTransport({ baseUrl: server.url });
    const clients = createClients(transport);
    if (start === 0) await fillCatalog(clients, model, random);
    await changeVectors(clients, model, random, BATCH);
    if (start === STARTS - 2) await createClient(AdminService, transport).createBackup({});
    if (start === STARTS - 1) {
      // What is lost of the last second before a kill, only a write-ahead log that is whole can tell.
      const { lsn } = await clients.vectors.listVectors({ vectorBucketName: BUCKET, indexName: "dense" });
      await until(async () => (await readAcknowledged(data)) === Number(lsn));
      await server.kill();
    } else assert.equal(await server.stop(), 0);
    if (start === STARTS - 2) {
      keep("stopped");
      rmSync(join(data, "backups"), { recursive: true });
    }
  }
  keep("killed");
  return found;
}

/** A case by its number and the seed alone, whatever ran before. */
async function runCase(child: Child, number: number) {
  const random = new Random(seeded.seed + number);
  const { origin, files, kind, how } = chooseCase(number, random);
  const parent = temporaryDirectory();
  const directory = join(parent, "data");
  copyDirectory(origin.directory, directory, files);
  const where = damage(directory, files, how, random);
  const damaged = { directory, model: origin.model, files };
  // A restore is the child's.
  const isOwn = number % OWN_PROCESS === OWN_PROCESS - 1 && !files.some((file) => kindOf(file) === "backup");
  const verdict = await (isOwn ? checkProcess(damaged) : child.check(damaged));
  rmSync(parent, { recursive: true, force: true });
  return { what: `${origin.name}, ${files.join(" and ")} ${how} (${where})`, row: `${kind}|${how}`, verdict };
}

/** Goes through kinds and damages in turn; which file, and where in it, is at random. */
function chooseCase(number: number, random: Random) {
  const kinds = Object.keys(KINDS) as Kind[];
  const kind = kinds[number % kinds.length] as Kind;
  const how = DAMAGES[Math.floor(number / kinds.length) % DAMAGES.length] as Damage;
  const having = origins.filter(({ directory }) => filesIn(directory).some((each) => kindOf(each) === kind));
  const origin = random.pick(having);
  const all = filesIn(origin.directory);
  const ofKind = all.filter((each) => kindOf(each) === kind);
  const file = random.pick(ofKind);
  if (how !== "swapped") return { origin, files: [file], kind, how };
  const others = (ofKind.length > 1 ? ofKind : all).filter((other) => other !== file);
  return { origin, files: [file, random.pick(others)], kind, how };
}

async function checkProcess({ directory, model, files }: DamageCase): Promise<Verdict> {
  let server: ServerProcess;
  try {
    server = await ServerProcess.start(directory);
  } catch (error) {
    return verdictOfLoss("refused", (error as Error).message, files);
  }
  try {
    return await checkAnswers(server.url, model, files);
  } finally {
    await server.kill();
  }
}

/** A process that checks one directory after the other; another takes its place when it ends. */
class Child {
  #process: ReturnType<typeof fork> | undefined;

  constructor(t: TestContext) {
    t.after(() => this.#process?.kill("SIGKILL"));
  }

  async check(damageCase: DamageCase): Promise<Verdict> {
    const script = fileURLToPath(new URL("damage-child.ts", import.meta.url));
    this.#process ??= fork(script, { serialization: "advanced", stdio: ["ignore", "ignore", "pipe", "ipc"] });
    const child = this.#process;
    let complaints = "";
    child.stderr?.setEncoding("utf8").on("data", (text) => {
      complaints += text;
    });
    const ended = new AbortController();
    const timer = setTimeout(() => child.kill("SIGKILL"), HANG_MS);
    const started = performance.now();
    try {
      child.send(damageCase);
      const answered = once(child, "message", ended) as Promise<[Verdict]>;
      const exited = once(child, "exit", ended).then(([code, signal]): [Verdict] => {
        this.#process = undefined;
        const outcome = performance.now() - started >= HANG_MS ? "hang" : "signal";
        return [{ outcome, detail: `the process ended with ${code ?? signal}: ${complaints}` }];
      });
      const [verdict] = await Promise.race([answered, exited]);
      answered.catch(() => {});
      exited.catch(() => {});
      return verdict;
    } finally {
      clearTimeout(timer);
      ended.abort();
      child.stderr?.removeAllListeners("data");
    }
  }
}

function describe(table: ReadonlyMap<string, ReadonlyMap<Outcome, number>>): string[] {
  const rows = [...table].sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    `${"file".padEnd(16)} ${"damage".padEnd(16)} ${OUTCOMES.map((outcome) => outcome.padStart(10)).join("")}`,
    ...rows.map(([row, counts]) => {
      const [kind = "", how = ""] = row.split("|");
      const cells = OUTCOMES.map((outcome) => String(counts.get(outcome) ?? ".").padStart(10));
      return `${kind.padEnd(16)} ${how.padEnd(16)} ${cells.join("")}`;
    }),
  ];
}

function digestOf(directory: string): string {
  const hash = createHash("sha256");
  for (const file of filesIn(directory)) hash.update(file).update(readFileSync(join(directory, file)));
  return hash.digest("hex");
}
