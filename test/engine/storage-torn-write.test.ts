import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openDatabase } from "../../native/rocksdb.ts";
import { WriteBatch } from "../../native/write-batch.ts";
import { cutTornWrite, findLogDamage } from "../../src/engine/embedded/storage/torn-write.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const WRITES = 5;
/** Several blocks of the log. */
const VALUE_BYTES = 100_000;

test("a last write that is torn anywhere is cut off; damage before it is left for the start to refuse", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const whole = await databaseWithWrites();
  const log = readFileSync(join(whole, logOf(whole)));
  const last = log.length - VALUE_BYTES;
  for (let i = 0; i < 40; i++) {
    const isLast = random.below(2) === 0;
    // A sector that is still as it was before the write: zeros.
    const at = isLast ? last + 1000 + random.below(VALUE_BYTES - 2000) : random.below(last - 1000);
    const damaged = Buffer.from(log).fill(0, at, at + 512);
    const data = join(temporaryDirectory(), "data");
    mkdirSync(data);
    for (const name of readdirSync(whole)) copyFileSync(join(whole, name), join(data, name));
    writeFileSync(join(data, logOf(whole)), damaged);

    const damage = await findLogDamage(data);
    assert.deepEqual([damage?.file, damage?.isTornWrite], [logOf(whole), isLast], `zeros at ${at}`);
    assert.deepEqual(readFileSync(join(data, logOf(whole))), damaged);
    if (damage?.isTornWrite) await cutTornWrite(data, damage);
    if (!isLast) {
      await assert.rejects(openDatabase(data, {}), { code: "CORRUPTION" });
      continue;
    }
    const database = await openDatabase(data, {});
    const { entries } = await database.scan({ columnFamily: 0, keysOnly: true });
    assert.equal(entries.length / 4, WRITES - 1);
    await database.close();
  }
});

test("no damage is found in a log that is whole", async () => {
  assert.equal(await findLogDamage(await databaseWithWrites()), undefined);
});

/** As a kill leaves it: the writes stand in the log alone. */
async function databaseWithWrites(): Promise<string> {
  const random = new Random(1);
  const path = join(temporaryDirectory(), "data");
  const database = await openDatabase(path, { createIfMissing: true });
  for (let i = 0; i < WRITES; i++) {
    const batch = new WriteBatch();
    batch.put(0, Buffer.from(`key ${i}`), Buffer.from(random.vector(VALUE_BYTES / 4).buffer));
    await database.write(batch.bytes());
  }
  const copy = join(temporaryDirectory(), "data");
  mkdirSync(copy);
  for (const name of readdirSync(path)) copyFileSync(join(path, name), join(copy, name));
  await database.close();
  return copy;
}

function logOf(path: string): string {
  return readdirSync(path).find((name) => name.endsWith(".log")) as string;
}
