import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openDatabase, type StoreError } from "../../native/rocksdb.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import {
  failsWith,
  openTestDatabase,
  programEnvironment,
  puts,
  readAll,
  runChild,
  withDatabase,
} from "./rocksdb-support.ts";

/** The largest file whose name ends so. */
function fileEndingIn(path: string, ending: string): string {
  const files = readdirSync(path).filter((name) => name.endsWith(ending));
  const sizes = new Map(files.map((name) => [name, readFileSync(join(path, name)).length]));
  const [largest] = files.sort((a, b) => (sizes.get(b) ?? 0) - (sizes.get(a) ?? 0));
  assert.ok(largest, `No file in ${path} ends in ${ending}`);
  return join(path, largest);
}

function flipBit(file: string, at: number): void {
  const content = readFileSync(file);
  content[at] = (content[at] ?? 0) ^ 0x10;
  writeFileSync(file, content);
}

/** A closed database whose write-ahead log holds 200 batches, each of one key. */
async function loggedDatabase(t: TestContext): Promise<string> {
  const { db, path } = await openTestDatabase(t);
  for (let i = 0; i < 200; i++) await db.write(puts(0, [[String(i).padStart(3, "0"), "x".repeat(100)]]));
  await db.close();
  return path;
}

test("what was acknowledged survives kill -9, and no batch is there by half", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const path = temporaryDirectory();
  const acknowledged = new Set<number>();
  let most = -1;
  for (let round = 0; round < 8; round++) {
    const enough = acknowledged.size + 1 + random.below(300);
    const { signal, stderr } = await runChild("writeForEver", path, {
      args: [String(most + 1000)],
      onLine(line, kill) {
        acknowledged.add(Number(line));
        most = Math.max(most, Number(line));
        if (acknowledged.size >= enough) kill();
      },
    });
    assert.equal(signal, "SIGKILL", stderr);
    await withDatabase(path, async (db) => {
      const other = db.columnFamilies().find(({ name }) => name === "other");
      const found = await readAll(db, 0);
      assert.deepEqual(await readAll(db, other?.id ?? -1), found);
      const numbers = new Map(found.map(([key, value]) => [Number(key), value?.length]));
      for (const number of acknowledged) assert.equal(numbers.get(number), number % 5000);
    });
  }
  t.diagnostic(`${acknowledged.size} acknowledged batches`);
});

test("a write-ahead log whose tail is torn opens without the torn batch", async (t) => {
  const path = await loggedDatabase(t);
  const log = fileEndingIn(path, ".log");
  truncateSync(log, readFileSync(log).length - 7);
  await withDatabase(path, async (db) => assert.equal((await readAll(db, 0)).length, 199));
});

test("damage is CORRUPTION: in the log, in a table, and where a file is missing", async (t) => {
  const path = await loggedDatabase(t);
  const log = fileEndingIn(path, ".log");
  const intact = readFileSync(log);
  flipBit(log, Math.floor(intact.length / 2));
  await assert.rejects(openDatabase(path), failsWith("CORRUPTION"));
  writeFileSync(log, intact);

  await withDatabase(path, async (db) => {
    assert.equal((await readAll(db, 0)).length, 200);
    await db.flush();
  });
  const current = readFileSync(join(path, "CURRENT"));
  rmSync(join(path, "CURRENT"));
  await assert.rejects(openDatabase(path, { createIfMissing: true }), failsWith("CORRUPTION"));
  writeFileSync(join(path, "CURRENT"), current);

  const manifest = fileEndingIn(path, current.toString().trim());
  copyFileSync(manifest, join(path, "aside"));
  rmSync(manifest);
  await assert.rejects(openDatabase(path), failsWith("CORRUPTION"));
  copyFileSync(join(path, "aside"), manifest);

  const table = fileEndingIn(path, ".sst");
  const content = readFileSync(table);
  rmSync(table);
  await assert.rejects(openDatabase(path), failsWith("CORRUPTION"));
  writeFileSync(table, content);
  flipBit(table, 1000);
  const damaged = await openDatabase(path);
  await assert.rejects(damaged.scan({ columnFamily: 0 }), failsWith("CORRUPTION"));
  await damaged.close();
});

test("after a write failed the database is read-only, says so, and loses nothing acknowledged", async () => {
  const path = temporaryDirectory();
  const { code, signal, stdout, stderr } = await runChild("writeUntilFailure", path, { fileSizeKiB: 4096 });
  assert.deepEqual([code, signal], [0, null], stderr);
  const [failure, reported, acknowledged] = stdout.split("\n");
  assert.equal(failure, "IO_ERROR");
  assert.equal(reported, "IO_ERROR", "onBackgroundError was called once");
  assert.ok(Number(acknowledged) > 10);
  await withDatabase(path, async (db) => {
    const found = await readAll(db, 0);
    assert.ok(found.length === Number(acknowledged) || found.length === Number(acknowledged) + 1);
  });
});

test("a full disk is NO_SPACE; reads go on, and nothing acknowledged is lost", async (t) => {
  const directory = temporaryDirectory();
  const path = join(directory, "disk");
  mkdirSync(path);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m", "quiver-test", path], {
      stdio: "pipe",
      env: programEnvironment(),
    });
  } catch (error) {
    t.skip(`Cannot mount a small file system: ${(error as Error).message.split("\n").at(-2)}`);
    return;
  }
  try {
    const errors: StoreError[] = [];
    const db = await openDatabase(path, { createIfMissing: true, onBackgroundError: (error) => errors.push(error) });
    let acknowledged = 0;
    let failure: StoreError | undefined;
    while (!failure) {
      const batch = puts(0, [[String(acknowledged).padStart(3, "0"), "x".repeat(1_000_000)]]);
      await db.write(batch).then(
        () => acknowledged++,
        (error: StoreError) => {
          failure = error;
        },
      );
    }
    assert.equal(failure.code, "NO_SPACE");
    await assert.rejects(db.write(puts(0, [["small", "x"]])), failsWith("IO_ERROR"));
    assert.equal((await readAll(db, 0)).length, acknowledged);
    await db.close();
    assert.deepEqual(
      errors.map(({ code }) => code),
      ["NO_SPACE"],
    );
    execFileSync("mount", ["-o", "remount,size=100m", path], { stdio: "pipe", env: programEnvironment() });
    await withDatabase(path, async (reopened) => {
      const { length } = await readAll(reopened, 0);
      assert.ok(length === acknowledged || length === acknowledged + 1);
    });
  } finally {
    execFileSync("umount", [path], { stdio: "pipe", env: programEnvironment() });
  }
});
