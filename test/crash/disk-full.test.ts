import assert from "node:assert/strict";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess } from "../support/server.ts";
import { smallDisk } from "../support/small-disk.ts";
import { until } from "../support/until.ts";
import { BACK_MS_MAX, Filler, ForeignFile, timeUntil } from "./full-disk.ts";

const ROUNDS = rounds("DISK_FULL", { quick: 3, full: 50 });

/** The reserve of the smallest server is 88 MiB; what can be dropped later must fit beside it, though written twice. */
const DISK_MIB = 144;
const ARGUMENTS = ["--write-buffer", "4MiB"];

/** Who fills the disk: the server's own writes, something else before the next write, or in the middle of many. */
const WAYS = ["puts", "foreign", "foreign under load"] as const;

const connect = ({ url }: ServerProcess) => createClients((PROTOCOLS.gRPC as (typeof PROTOCOLS)[string])(url));

test("a full disk refuses what grows, answers all else, and is left by itself", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const disk = smallDisk(t, DISK_MIB, import.meta.filename);
  if (disk === undefined) return;
  for (let round = 0; round < ROUNDS; round++) {
    const way = WAYS[round % WAYS.length] ?? "puts";
    const report = await fillHoldFree(t, { disk, data: join(disk, `data-${round}`), way, random });
    t.diagnostic(`${way}: ${report}`);
  }
});

test("without its guard the same disk ends the writes for good: the test can fail", async (t) => {
  const disk = smallDisk(t, DISK_MIB, import.meta.filename);
  if (disk === undefined) return;
  const options = {
    disk,
    data: join(disk, "data"),
    random: new Random(1),
    env: { QUIVER_TEST_UNGUARDED_DISK: "true" },
  };
  const failure = await fillHoldFree(t, { ...options, way: "puts" }).then(
    () => assert.fail("Nothing was found"),
    (error: Error) => error,
  );
  assert.notEqual(failure.message, "Nothing was found");
  t.diagnostic(`found: ${failure.message.split("\n")[0]}`);
});

interface RoundOptions {
  readonly disk: string;
  readonly data: string;
  readonly way: (typeof WAYS)[number];
  readonly random: Random;
  readonly env?: Readonly<Record<string, string>>;
}

/** One round; rejects with the first thing that is not as it must be. Leaves the disk empty when it does not. */
async function fillHoldFree(t: TestContext, { disk, data, way, random, env = {} }: RoundOptions): Promise<string> {
  mkdirSync(data);
  const filler = new Filler();
  const foreign = new ForeignFile(disk);
  let server = await ServerProcess.start(data, ARGUMENTS, { env });
  t.after(() => server.kill());
  let clients = connect(server);
  await filler.prepare(clients);

  if (way === "puts") {
    await filler.putScrap(clients);
  } else if (way === "foreign") {
    for (let i = 5 + random.below(60); i >= 0; i--) await filler.put(clients);
    await foreign.takeAll(data);
  } else {
    // So few that there is room for writes again without what is foreign.
    const enough = 200 + random.below(600);
    let isFilled = false;
    const filling = filler.fill(clients, { isDone: () => filler.stored.size >= 2 * enough }).finally(() => {
      isFilled = true;
    });
    await until(() => isFilled || filler.stored.size >= enough);
    await Promise.all([filling, foreign.takeAll(data)]);
  }

  const hold = async () => {
    // What the store writes out gives the room of its log back: there may be room again for a little.
    await timeUntil(async () => {
      await filler.fill(clients);
      assert.deepEqual(await readinessOf(server), [200, "read_only", "DISK_FULL"]);
    }, BACK_MS_MAX);
    for (let i = 0; i < 10; i++) await filler.put(clients);
    await timeUntil(() => filler.deleteSome(clients), BACK_MS_MAX);
    await filler.compare(clients);
  };
  await hold();
  if (random.below(2) === 0) await server.kill();
  else assert.equal(await server.stop(), 0);
  server = await ServerProcess.start(data, ARGUMENTS, { env });
  clients = connect(server);
  await hold();

  if (way === "puts") await filler.dropScrap(clients);
  else foreign.remove();
  const backMs = await timeUntil(
    async () => assert.equal(await filler.put(clients), "stored", filler.refusal),
    BACK_MS_MAX,
  );
  await filler.compare(clients);
  assert.equal(await server.stop(), 0);

  server = await ServerProcess.start(data, ARGUMENTS, { env });
  await filler.compare(connect(server));
  assert.equal(await server.stop(), 0);
  rmSync(data, { recursive: true });
  return `${filler.stored.size} stored, ${filler.absent.size} refused or deleted, back after ${Math.round(backMs)} ms`;
}

async function readinessOf({ url }: ServerProcess): Promise<(number | string | undefined)[]> {
  const answer = await fetch(new URL("/readyz", url));
  const { storage, problems } = (await answer.json()) as { storage: string; problems: { reason: string }[] };
  return [answer.status, storage, problems[0]?.reason];
}
