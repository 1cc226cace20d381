import assert from "node:assert/strict";
import { globSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { checkTable } from "../../native/rocksdb.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { failsWith, openTestDatabase, puts } from "./rocksdb-support.ts";

/** A table of the column family "other" with more than one block, of a database that stays open. */
async function tableOf(t: TestContext): Promise<string> {
  const { db, path } = await openTestDatabase(t);
  const family = await db.createColumnFamily("other");
  const entries = Array.from({ length: 300 }, (_, i) => [`key-${i}`, "value".repeat(20)] as const);
  await db.write(puts(family, entries));
  await db.flush(family);
  const [table = assert.fail("no table")] = globSync("*.sst", { cwd: path });
  return join(path, table);
}

/** Bytes at the end of a table that say where all else is: padded with zeros that nothing reads, before its last 12 bytes. */
const FOOTER_BYTES = 53;
const isPadding = (table: Buffer, at: number) =>
  at > table.length - FOOTER_BYTES && at < table.length - 12 && table[at] === 0;

test("an intact table is known by its column family, and nothing is wrong with it", async (t) => {
  const table = await tableOf(t);
  const checks = await Promise.all(Array.from({ length: 20 }, () => checkTable(table)));
  for (const check of checks) assert.deepEqual(check, { columnFamily: "other" });
});

test("one flipped bit of a table is found, wherever it is read, and so is a table cut short", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const table = await tableOf(t);
  const whole = readFileSync(table);
  const copy = join(temporaryDirectory(), "copy.sst");
  for (let round = 0; round < rounds("TABLE_FLIPS", { quick: 300, full: 5_000 }); round++) {
    const at = random.below(8 * whole.length);
    const damaged = Buffer.from(whole);
    damaged[at >> 3] = (damaged[at >> 3] ?? 0) ^ (1 << (at & 7));
    writeFileSync(copy, damaged);
    const { damage } = await checkTable(copy);
    const isHarmless = isPadding(whole, at >> 3) && damage === undefined;
    assert.ok(damage || isHarmless, `bit ${at & 7} of byte ${at >> 3} of ${whole.length}`);
  }
  for (let round = 0; round < 50; round++) {
    writeFileSync(copy, whole);
    truncateSync(copy, random.below(whole.length));
    assert.ok((await checkTable(copy)).damage);
  }
});

test("what is no table, or not there, is told apart", async () => {
  const directory = temporaryDirectory();
  const other = join(directory, "other.sst");
  writeFileSync(other, Buffer.alloc(10_000, "no table"));
  assert.ok((await checkTable(other)).damage);
  await assert.rejects(checkTable(join(directory, "none.sst")), failsWith("CORRUPTION"));
  await assert.rejects(checkTable(""), failsWith("INVALID_ARGUMENT"));
});
