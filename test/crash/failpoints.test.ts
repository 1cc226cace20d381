import assert from "node:assert/strict";
import { cpSync, globSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { type Client, createClient } from "@connectrpc/connect";
import { AdminService } from "../../gen/quiver/v1/admin_service_pb.ts";
import { FAILPOINTS, type Failpoint } from "../../src/failpoints.ts";
import { patientTransport } from "../support/patient.ts";
import { type Clients, createClients } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { GraphLoad } from "./graph-load.ts";
import { assertNothingLeft } from "./left-overs.ts";
import { Load } from "./load.ts";
import { Disk, hasShim } from "./shim/shim.ts";

const ROUNDS = rounds("FAILPOINT_ROUNDS", { quick: 1, full: 20 });

/** How to get to a point. */
interface Way {
  /** One of so many hits, at random, ends the server. */
  readonly hits: number;
  /** Comes before, while no server runs. */
  readonly before?: (crashes: Crashes) => Promise<unknown>;
  readonly go: (crashes: Crashes) => Promise<unknown>;
}

const load = (crashes: Crashes) => crashes.load.run(crashes.url);
const save = async (crashes: Crashes) => {
  if (!(await crashes.graphs.put(crashes.clients))) return;
  await crashes.graphs.built(crashes.clients);
  await crashes.stop();
};
const backUp = (crashes: Crashes) =>
  Promise.all([load(crashes), crashes.admin.createBackup({ displayName: "" }).catch(() => {})]);

const WAYS: Readonly<Record<Failpoint, Way>> = {
  "before-write": { hits: 100, go: load },
  "after-write": { hits: 100, go: load },
  "after-apply": { hits: 100, go: load },
  "before-graph": { hits: 3, go: (crashes) => crashes.graphs.put(crashes.clients) },
  "after-create-family": { hits: 4, go: load },
  "after-delete-index": { hits: 2, go: load },
  "after-drop-family": { hits: 2, go: load },
  "after-forget-family": { hits: 2, go: load },
  "before-create-mark": {
    hits: 1,
    before: async (crashes) => rmSync(join(crashes.data, "ACKNOWLEDGED")),
    go: async () => {},
  },
  "before-mark": { hits: 2, go: load },
  "after-write-mark": { hits: 2, go: load },
  "after-mark": { hits: 2, go: load },
  "before-save-graph": { hits: 1, go: save },
  "after-save-graph": { hits: 1, go: save },
  "before-rename-keys": { hits: 1, go: save },
  "after-rename-keys": { hits: 1, go: save },
  "after-remove-keys": {
    hits: 1,
    before: async (crashes) => {
      await crashes.start();
      await save(crashes);
    },
    go: (crashes) => crashes.graphs.drop(crashes.clients),
  },
  "after-checkpoint": { hits: 1, go: backUp },
  "after-copy-file": { hits: 5, go: backUp },
  "after-copy": { hits: 1, go: backUp },
  "before-rename-backup": { hits: 1, go: backUp },
  "after-rename-backup": { hits: 1, go: backUp },
};

for (const point of FAILPOINTS) {
  test(`a server that ends at "${point}" has lost nothing at its next start, and left nothing behind`, async (t) => {
    const crashes = await Crashes.begin(t);
    for (let round = 0; round < ROUNDS; round++) await crashes.round(point, WAYS[point]);
    t.diagnostic(crashes.toString());
  });
}

test("a server that ends while it syncs the write-ahead log has lost nothing at its next start", async (t) => {
  if (!hasShim(t)) return;
  const disk = new Disk();
  const crashes = await Crashes.begin(t, disk.data);
  for (let round = 0; round < ROUNDS; round++) {
    const first = 1 + crashes.random.below(50);
    disk.setFaults([{ call: "fsync", pattern: "data/*.log", first, count: 1, action: "kill", value: 0 }]);
    await crashes.end(() => disk.start(), load);
    await crashes.recover();
  }
  t.diagnostic(crashes.toString());
});

test("a write that memory cannot show is durable, of unknown outcome, and the last one until a restart", async (t) => {
  const crashes = await Crashes.begin(t);
  await crashes.start({ QUIVER_TEST_FAILPOINTS: "after-write=throw@50" });
  await load(crashes);
  // Of a delete of an index that has forgotten all but its files, the write is the server's own: nobody asked for it.
  const { WRITE_OUTCOME_UNKNOWN = 0, OVERLOADED: _, ...others } = Object.fromEntries(crashes.load.failures);
  assert.ok(WRITE_OUTCOME_UNKNOWN <= 1);
  assert.deepEqual(Object.keys(others), ["STORAGE_READ_ONLY"]);
  await crashes.stop();
  await crashes.recover();
});

test("a server does not start with a failpoint that it does not know", async () => {
  const env = { QUIVER_TEST_FAILPOINTS: "no-such-point=kill@1" };
  await assert.rejects(ServerProcess.start(temporaryDirectory(), [], { env }), /ended with 1: .*no-such-point/s);
});

test("every failpoint stands in the source, once", () => {
  const root = resolve(import.meta.dirname, "../../src");
  const text = globSync("**/*.ts", { cwd: root }).map((file) => readFileSync(join(root, file), "utf8"));
  const points = text.flatMap((each) => [...each.matchAll(/\bfailpoint\("(.*?)"\)/g)].map(([, point]) => point));
  assert.deepEqual(points.sort(), [...FAILPOINTS].sort());
});

let prepared: Promise<string> | undefined;

async function prepare(): Promise<string> {
  const server = await ServerProcess.start(temporaryDirectory());
  const clients = createClients(patientTransport(server.url));
  await new Load({ random: new Random() }).prepare(server.url);
  await new GraphLoad().prepare(clients);
  await server.stop();
  return server.data;
}

/** One data directory, the server on it, and the loads that know what it must hold. */
class Crashes {
  readonly random = new Random();
  readonly load = new Load({ random: this.random });
  readonly graphs = new GraphLoad();
  readonly data: string;
  #server: ServerProcess | undefined;
  #rounds = 0;

  private constructor(t: TestContext, data: string) {
    this.data = data;
    t.diagnostic(`seed ${this.random.seed}`);
    t.after(() => this.#server?.kill());
  }

  /** On a copy of one directory that holds what the loads need. */
  static async begin(t: TestContext, data = temporaryDirectory()): Promise<Crashes> {
    const crashes = new Crashes(t, data);
    prepared ??= prepare();
    cpSync(await prepared, data, { recursive: true });
    return crashes;
  }

  get url(): string {
    return (this.#server as ServerProcess).url;
  }

  get clients(): Clients {
    return createClients(patientTransport(this.url));
  }

  get admin(): Client<typeof AdminService> {
    return createClient(AdminService, patientTransport(this.url));
  }

  toString(): string {
    return `${this.#rounds} rounds, ${JSON.stringify(this.load.counts)}`;
  }

  async start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#server = await ServerProcess.start(this.data, [], { env });
  }

  /** Ends it as it should end; at a failpoint on the way it ends there. */
  async stop(): Promise<void> {
    await this.#server?.stop();
  }

  /** Goes to a point where the server ends, and compares what the next one finds. */
  async round(point: Failpoint, { hits, before, go }: Way): Promise<void> {
    await before?.(this);
    const QUIVER_TEST_FAILPOINTS = `${point}=kill@${1 + this.random.below(hits)}`;
    await this.end(() => ServerProcess.start(this.data, [], { env: { QUIVER_TEST_FAILPOINTS } }), go);
    await this.recover();
  }

  /** Rejects when the server does not end by itself. */
  async end(start: () => Promise<ServerProcess>, go: (crashes: Crashes) => Promise<unknown>): Promise<void> {
    this.#rounds++;
    try {
      this.#server = await start();
    } catch (error) {
      assert.match((error as Error).message, /ended with SIGKILL: /);
      return;
    }
    await go(this);
    assert.equal(await this.#server.ended(), "SIGKILL");
  }

  /** Starts it without failpoints, compares, and ends it. */
  async recover(): Promise<void> {
    await this.start();
    await this.load.retry(this.url);
    await this.load.compare(this.url);
    await this.graphs.compare(this.clients);
    const { backups } = await this.admin.listBackups({});
    const there = backups.map(({ backupId }) => backupId);
    assert.deepEqual(there.sort(), readBackups(this.data));
    assertNothingLeft(this.data, { indexes: await this.#countIndexes() });
    await this.#server?.kill();
  }

  async #countIndexes(): Promise<number> {
    const { vectorBuckets } = await this.clients.buckets.listVectorBuckets({});
    let count = 0;
    for (const { vectorBucketName } of vectorBuckets) {
      count += (await this.clients.indexes.listIndexes({ vectorBucketName, maxResults: 1_000 })).indexes.length;
    }
    return count;
  }
}

function readBackups(data: string): string[] {
  const directory = join(data, "backups");
  return globSync("backups", { cwd: data }).length === 0 ? [] : readdirSync(directory).sort();
}
