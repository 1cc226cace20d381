import assert from "node:assert/strict";
import { test } from "node:test";
import { openDatabase } from "../../native/rocksdb.ts";
import { WriteBatch } from "../../native/write-batch.ts";
import { readHeaderOf } from "../../src/engine/embedded/backup/header.ts";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import { FORMAT_KEY } from "../../src/engine/embedded/layout.ts";
import type { AccessKeyRecord, Engine } from "../../src/engine/engine.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const ACCESS_KEY_KIND = 0x07;
const NEVER = new AbortController().signal;

function open(path: string): Promise<Engine> {
  return openEmbeddedEngine({
    path,
    onBackgroundError: (message, error) => {
      throw new Error(message, { cause: error });
    },
  });
}

/** What a write past the engine leaves. */
async function plant(path: string, key: Uint8Array, value: Uint8Array): Promise<void> {
  const database = await openDatabase(path);
  const batch = new WriteBatch();
  batch.put(0, key, value);
  await database.write(batch.bytes());
  await database.close();
}

const hash = Buffer.alloc(32, 7).toString("base64");
const sealed = { nonce: "bm9uY2U=", ciphertext: "eA==", tag: "eQ==" };

const PLAIN: AccessKeyRecord = {
  id: "QKB",
  displayName: "",
  role: "admin",
  scopes: [],
  createdAt: 1,
  secret: { hash },
};

const FULL: AccessKeyRecord = {
  id: "QKA",
  displayName: "ü\u0000\u{1F511}",
  role: "read-only",
  scopes: [{ bucket: "b*", index: "i", namespace: "" }, {}],
  createdAt: 1_700_000_000_000,
  expiresAt: 1_900_000_000_000,
  lastUsedAt: 1_800_000_000_000,
  secret: { hash, sealed },
  previous: { hash, sealed, until: 1_800_000_000_001 },
};

test("access keys are there after a restart as they were put, by id, and are gone once deleted", async (t) => {
  const path = temporaryDirectory();
  let engine = await open(path);
  t.after(() => engine.close());
  for (const record of [PLAIN, FULL]) await engine.accessKeys.put(record);
  await engine.close();
  engine = await open(path);
  assert.deepEqual(await engine.accessKeys.load(), [FULL, PLAIN]);
  const { problems } = await engine.verify({ ref: undefined, signal: NEVER });
  assert.deepEqual(problems, []);
  const renamed = { ...FULL, displayName: "renamed" };
  await engine.accessKeys.put(renamed);
  await engine.accessKeys.delete(PLAIN.id);
  await engine.accessKeys.delete("QKnone");
  await engine.close();
  engine = await open(path);
  assert.deepEqual(await engine.accessKeys.load(), [renamed]);
});

test("data of the format before access keys are taken over, and no release that knows only that opens them again", async (t) => {
  const path = temporaryDirectory();
  await (await open(path)).close();
  await plant(path, FORMAT_KEY, Uint8Array.of(2, 0, 0, 0));
  const engine = await open(path);
  t.after(() => engine.close());
  assert.deepEqual(await engine.accessKeys.load(), []);
  await engine.accessKeys.put(PLAIN);
  await engine.close();
  const { formatVersion } = await readHeaderOf(path);
  assert.equal(formatVersion, 3);
});

test("an access key that is not what was written is CORRUPTION, and verify names it", async (t) => {
  const { id, ...record } = PLAIN;
  const damaged: unknown[] = [
    "{",
    "[]",
    "null",
    { ...record, role: "root" },
    { ...record, role: undefined },
    { ...record, scopes: undefined },
    { ...record, scopes: ["b"] },
    { ...record, scopes: [{ buckets: "b" }] },
    { ...record, expiresAt: "never" },
    { ...record, secret: undefined },
    { ...record, secret: { hash: "" } },
    { ...record, secret: { hash, sealed: { nonce: "" } } },
    { ...record, previous: { hash } },
  ];
  for (const value of damaged) {
    const path = temporaryDirectory();
    await (await open(path)).close();
    const bytes = Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
    await plant(path, Buffer.concat([Uint8Array.of(ACCESS_KEY_KIND), Buffer.from(id)]), bytes);
    const engine = await open(path);
    t.after(() => engine.close());
    await assert.rejects(engine.accessKeys.load(), { reason: "CORRUPTION" }, `${bytes}`);
    const { problems } = await engine.verify({ ref: undefined, signal: NEVER });
    assert.equal(problems.length, 1, `${bytes}`);
    assert.match(problems[0]?.error.message ?? "", /^Record 0x07514b42: /);
    await engine.close();
  }
});
