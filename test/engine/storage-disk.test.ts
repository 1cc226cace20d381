import assert from "node:assert/strict";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { allocateFile } from "../../native/rocksdb.ts";
import { DiskGuard } from "../../src/engine/embedded/storage/disk-guard.ts";
import type { QuiverError } from "../../src/errors.ts";
import { smallDisk } from "../support/small-disk.ts";

const MIB = 1024 * 1024;
const WRITE_BUFFER = 4 * MIB;
const FULL = { reason: "DISK_FULL", code: "RESOURCE_EXHAUSTED" };

test("the guard refuses what grows, then deletes, never drops, and ends all that by itself", async (t) => {
  const disk = smallDisk(t, 128, import.meta.filename);
  if (disk === undefined) return;
  const problems: (string | undefined)[] = [];
  let roomForCompactions = 0;
  const guard = await DiskGuard.open({
    path: disk,
    writeBuffer: WRITE_BUFFER,
    guards: true,
    onChange: (problem) => problems.push(problem?.reason),
    onRoomForCompactions: (bytes) => {
      roomForCompactions = bytes;
    },
  });
  const take = async (name: string, bytes: number) => {
    await allocateFile(join(disk, name), bytes);
    await guard.look();
  };
  assert.equal(guard.reserve, 88 * MIB);
  assert.deepEqual(guard.use, { total: 128 * MIB, free: 128 * MIB, reserve: 88 * MIB });
  assert.ok(existsSync(join(disk, "RESERVE")), "a part of the reserve is held");
  assert.ok(guard.hasRoomFor(40 * MIB) && !guard.hasRoomFor(41 * MIB));
  guard.admit("grow", MIB);
  assert.ok(!guard.hasRoomFor(39 * MIB), "what was admitted counts until the file system knows it");
  assert.throws(
    () => guard.admit("grow", 30 * MIB),
    ({ reason, metadata: { free, reserve } }: QuiverError) =>
      reason === "DISK_FULL" && Number(free) > guard.reserve && Number(free) < Number(reserve),
    "of a large batch it says how much would have to be free",
  );
  assert.deepEqual(problems, []);

  await take("first", 50 * MIB);
  assert.deepEqual(problems, ["DISK_FULL"]);
  assert.throws(
    () => guard.admit("grow", 0),
    ({ reason, metadata, retryAfterMs }: QuiverError) => {
      assert.deepEqual([reason, metadata.free], ["DISK_FULL", `${78 * MIB}`]);
      assert.ok((retryAfterMs ?? 0) > 0);
      return true;
    },
  );
  assert.ok(!guard.hasRoomFor(0));
  guard.admit("shrink", MIB);

  await take("second", 34 * MIB);
  assert.ok(!existsSync(join(disk, "RESERVE")), "what was held is given back at the end");
  assert.equal(guard.use.free, 44 * MIB);
  guard.admit("shrink", MIB);
  await take("third", 30 * MIB);
  assert.equal(roomForCompactions, 0);
  assert.throws(() => guard.admit("shrink", 0), FULL);
  guard.admit("drop", 0);

  for (const name of ["first", "second", "third"]) rmSync(join(disk, name));
  await guard.look(); // The one that the refusal began, maybe before the files were gone.
  await guard.look();
  guard.admit("grow", MIB);
  assert.deepEqual(problems, ["DISK_FULL", undefined]);
  await guard.close();
});

test("once it has refused, the guard waits for more room than where it stopped", async (t) => {
  const disk = smallDisk(t, 128, import.meta.filename);
  if (disk === undefined) return;
  const guard = await DiskGuard.open({
    path: disk,
    writeBuffer: WRITE_BUFFER,
    guards: true,
    onChange: () => {},
    onRoomForCompactions: () => {},
  });
  await allocateFile(join(disk, "first"), 41 * MIB);
  await guard.look();
  rmSync(join(disk, "first"));
  await allocateFile(join(disk, "first"), 35 * MIB);
  await guard.look();
  assert.throws(() => guard.admit("grow", 0), FULL);
  rmSync(join(disk, "first"));
  await allocateFile(join(disk, "first"), 28 * MIB);
  await guard.look();
  await guard.look();
  guard.admit("grow", 0);
  await guard.close();
});
