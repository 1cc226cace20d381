import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { type TestContext, test } from "node:test";
import type { AccessKeyRecord, AccessKeyStore, Engine } from "../../src/engine/engine.ts";
import { QuiverError } from "../../src/errors.ts";
import { type AccessKeyRequest, AccessKeys } from "../../src/service/access/access-keys.ts";
import { atTime } from "../../src/service/access/at-time.ts";
import type { AccessScope, Caller } from "../../src/service/access/caller.ts";
import { SecretsKey } from "../../src/service/access/secrets-key.ts";
import { Rates } from "../../src/service/rates.ts";
import { EVERYBODY, openAuthorizer } from "../support/everybody.ts";
import { until } from "../support/until.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const ADMIN: AccessKeyRequest = {
  displayName: "",
  role: "admin",
  scopes: [],
  expiresAt: undefined,
  allowSigning: false,
};
const READER: AccessKeyRequest = { ...ADMIN, role: "read-only" };
const PAGE = { prefix: "", maxResults: 0, nextToken: "" };

/** Keeps what a disk would, and counts the writes. */
class MemoryStore implements AccessKeyStore {
  readonly records = new Map<string, string>();
  writes = 0;
  /** Each write waits for it. */
  gate: Promise<void> = Promise.resolve();

  async load(): Promise<AccessKeyRecord[]> {
    return [...this.records.values()].map((record) => JSON.parse(record));
  }

  async put(record: AccessKeyRecord): Promise<void> {
    this.writes++;
    await this.gate;
    this.records.set(record.id, JSON.stringify(record));
  }

  async delete(id: string): Promise<void> {
    this.writes++;
    await this.gate;
    this.records.delete(id);
  }
}

async function load(store: MemoryStore, secretsKey?: SecretsKey): Promise<AccessKeys> {
  const engine = { accessKeys: store } as unknown as Engine;
  const keys = new AccessKeys({
    engine,
    scope: { region: "us-east-1", account: "000000000000" },
    rates: new Rates(),
    authorizer: openAuthorizer(engine),
    secretsKey,
    onError: (message, error) => {
      throw new Error(message, { cause: error });
    },
  });
  assert.equal(keys.isEmpty, false, "nobody is let in before they are loaded");
  await keys.load();
  return keys;
}

function stopTime(t: TestContext): void {
  t.mock.timers.enable({ apis: ["Date", "setTimeout"], now: 1_800_000_000_000 });
}

function refused(keys: AccessKeys, apiKey: string): string {
  try {
    keys.authenticate(apiKey);
  } catch (error) {
    assert.ok(error instanceof QuiverError);
    assert.equal(error.reason, "CREDENTIALS_INVALID");
    return error.message;
  }
  assert.fail(`${apiKey} was let in`);
}

function reasonOf(signal: AbortSignal): string | undefined {
  return signal.aborted ? (signal.reason as QuiverError).reason : undefined;
}

test("an access key is let in as what it was created for, also after a restart, and nothing stored tells its secret", async () => {
  const store = new MemoryStore();
  const keys = await load(store);
  assert.equal(keys.isEmpty, true);
  const [admin] = await Promise.all([keys.create(EVERYBODY, ADMIN), keys.create(EVERYBODY, READER)]);
  assert.equal(keys.isEmpty, false);
  const scopes = [{ bucket: "b*", index: "i", namespace: "" }];
  const writer = await keys.create(EVERYBODY, { ...ADMIN, displayName: "w", role: "read-write", scopes });
  for (const each of [keys, await load(store)]) {
    assert.equal(each.authenticate(admin.apiKey).role, "admin");
    const { signal, ...who } = each.authenticate(writer.apiKey);
    assert.deepEqual(who, { keyId: writer.accessKey.id, role: "read-write", scopes });
    assert.equal(signal.aborted, false);
    assert.equal(each.authenticate(writer.apiKey), each.authenticate(writer.apiKey));
  }
  const shown = [...store.records.values(), JSON.stringify(await keys.list(EVERYBODY, PAGE))].join();
  for (const { secret } of [admin, writer]) assert.equal(shown.includes(secret), false);
});

test("what waits for its turn is not done for a key, or an open server, that has ended meanwhile", async () => {
  const store = new MemoryStore();
  const keys = await load(store);
  const anybody: Caller = { ...EVERYBODY, signal: keys.open };
  const [first, second] = await Promise.allSettled([keys.create(anybody, ADMIN), keys.create(anybody, ADMIN)]);
  assert.equal(first.status, "fulfilled");
  assert.equal(second.status === "rejected" && second.reason.reason, "CREDENTIALS_MISSING");
  const other = await keys.create(EVERYBODY, ADMIN);
  const caller = { ...EVERYBODY, ...keys.authenticate(other.apiKey) };
  const [, late] = await Promise.allSettled([
    keys.delete(EVERYBODY, other.accessKey.id),
    keys.create(caller, ADMIN),
    keys.delete(caller, first.value.accessKey.id),
  ]);
  assert.equal(late.status === "rejected" && late.reason.reason, "CREDENTIALS_INVALID");
  assert.equal(store.records.size, 1);
});

test("ids, secrets and api keys have their formats, and every character of them comes up", async () => {
  const keys = await load(new MemoryStore());
  const issued = await Promise.all(Array.from({ length: 300 }, () => keys.create(EVERYBODY, ADMIN)));
  for (const { accessKey, secret, apiKey } of issued) {
    assert.match(accessKey.id, /^QK[A-Z2-7]{18}$/);
    assert.match(secret, /^[A-Za-z0-9]{40}$/);
    assert.equal(apiKey, `qk_${accessKey.id}_${secret}`);
  }
  assert.equal(new Set(issued.map(({ secret }) => secret)).size, issued.length);
  assert.equal(new Set(issued.flatMap(({ secret }) => [...secret])).size, 62);
  assert.equal(new Set(issued.flatMap(({ accessKey }) => [...accessKey.id.slice(2)])).size, 32);
});

test("what is unknown, wrong, expired or deleted is refused in the same words", async (t) => {
  stopTime(t);
  const keys = await load(new MemoryStore());
  const { apiKey, accessKey, secret } = await keys.create(EVERYBODY, ADMIN);
  const deleted = await keys.create(EVERYBODY, READER);
  const expired = await keys.create(EVERYBODY, { ...READER, expiresAt: Date.now() + 1_000 });
  await keys.delete(EVERYBODY, deleted.accessKey.id);
  t.mock.timers.tick(1_000);
  const other = secret.startsWith("A") ? "B" : "A";
  const wrong = [
    "",
    "x".repeat(16_384),
    secret,
    accessKey.id,
    `qk_${accessKey.id}_`,
    `qk_${accessKey.id}_${other}${secret.slice(1)}`,
    `qk_${deleted.accessKey.id}_${secret}`,
    `qk_QKAAAAAAAAAAAAAAAAAA_${secret}`,
    `${apiKey} `,
    `${apiKey}\n`,
    apiKey.toUpperCase(),
    apiKey.slice(0, -1),
    deleted.apiKey,
    expired.apiKey,
  ];
  const messages = new Set(wrong.map((each) => refused(keys, each)));
  assert.deepEqual([...messages], ["The access key is unknown, wrong or expired"]);
  assert.equal(keys.authenticate(apiKey).keyId, accessKey.id);
});

test("only an administrator that never expires can be the first, and the last of them stays", async () => {
  const store = new MemoryStore();
  const keys = await load(store);
  const expiresAt = Date.now() + DAY_MS;
  for (const request of [READER, { ...ADMIN, role: "read-write" as const }, { ...ADMIN, expiresAt }]) {
    await assert.rejects(keys.create(EVERYBODY, request), { reason: "LAST_ADMIN_KEY", code: "FAILED_PRECONDITION" });
  }
  assert.deepEqual([keys.isEmpty, store.writes], [true, 0]);
  const [first, second] = [await keys.create(EVERYBODY, ADMIN), await keys.create(EVERYBODY, ADMIN)];
  await keys.create(EVERYBODY, READER);
  await keys.create(EVERYBODY, { ...ADMIN, expiresAt });
  const ids = [first.accessKey.id, second.accessKey.id];
  const deletions = await Promise.allSettled(ids.map((id) => keys.delete(EVERYBODY, id)));
  assert.deepEqual(
    deletions.map((end) => (end.status === "rejected" ? end.reason.reason : "deleted")),
    ["deleted", "LAST_ADMIN_KEY"],
  );
  refused(keys, first.apiKey);
  assert.equal(keys.authenticate(second.apiKey).role, "admin");
  await keys.delete(EVERYBODY, second.accessKey.id, { evenLast: true });
  refused(keys, second.apiKey);
  assert.equal(keys.isEmpty, false);
  await assert.rejects(keys.delete(EVERYBODY, second.accessKey.id), { reason: "ACCESS_KEY_NOT_FOUND" });
  await assert.rejects(keys.rotate(EVERYBODY, { id: second.accessKey.id, overlapSeconds: 0 }), {
    reason: "ACCESS_KEY_NOT_FOUND",
  });
});

test("a deletion ends what its secrets have begun, once it is stored, and no late note brings the key back", async () => {
  const store = new MemoryStore();
  const keys = await load(store);
  await keys.create(EVERYBODY, ADMIN);
  const { apiKey, accessKey } = await keys.create(EVERYBODY, READER);
  const rotated = await keys.rotate(EVERYBODY, { id: accessKey.id, overlapSeconds: 60 });
  const opened = Promise.withResolvers<void>();
  store.gate = opened.promise;
  const writes = store.writes;
  const deleting = keys.delete(EVERYBODY, accessKey.id);
  await until(() => store.writes > writes);
  const signals = [apiKey, rotated.apiKey].map((each) => keys.authenticate(each).signal);
  assert.deepEqual(signals.map(reasonOf), [undefined, undefined]);
  opened.resolve();
  await deleting;
  assert.deepEqual(signals.map(reasonOf), ["CREDENTIALS_INVALID", "CREDENTIALS_INVALID"]);
  await keys.create(EVERYBODY, READER); // Comes after every change before it.
  assert.equal(store.records.has(accessKey.id), false);
});

test("a rotation ends the secret at once, or when the overlap is over, with what it has begun", async (t) => {
  stopTime(t);
  const store = new MemoryStore();
  const keys = await load(store);
  const { apiKey, accessKey } = await keys.create(EVERYBODY, ADMIN);
  const { id } = accessKey;
  const first = keys.authenticate(apiKey).signal;
  const second = await keys.rotate(EVERYBODY, { id, overlapSeconds: 0 });
  assert.deepEqual([second.accessKey.id, second.accessKey.previousUntil], [id, undefined]);
  assert.equal(reasonOf(first), "CREDENTIALS_INVALID");
  refused(keys, apiKey);

  const third = await keys.rotate(EVERYBODY, { id, overlapSeconds: 604_800 });
  assert.equal(third.accessKey.previousUntil, Date.now() + 7 * DAY_MS);
  for (const each of [keys, await load(store)]) {
    const signals = [second, third].map(({ apiKey: both }) => each.authenticate(both).signal);
    assert.deepEqual(signals.map(reasonOf), [undefined, undefined]);
  }
  const signals = [second, third].map((each) => keys.authenticate(each.apiKey).signal);
  const restarted = await load(store);
  t.mock.timers.tick(7 * DAY_MS - 1);
  assert.deepEqual(signals.map(reasonOf), [undefined, undefined]);
  t.mock.timers.tick(1);
  assert.deepEqual(signals.map(reasonOf), ["CREDENTIALS_INVALID", undefined]);
  for (const each of [keys, restarted, await load(store)]) {
    refused(each, second.apiKey);
    assert.equal(each.authenticate(third.apiKey).keyId, id);
    assert.equal((await each.list(EVERYBODY, PAGE)).items[0]?.previousUntil, undefined);
  }

  const fourth = await keys.rotate(EVERYBODY, { id, overlapSeconds: 60 });
  const { signal } = keys.authenticate(third.apiKey);
  const fifth = await keys.rotate(EVERYBODY, { id, overlapSeconds: 60 });
  assert.equal(reasonOf(signal), "CREDENTIALS_INVALID");
  refused(keys, third.apiKey);
  for (const each of [fourth, fifth]) assert.equal(keys.authenticate(each.apiKey).keyId, id);
});

test("an access key ends when it expires, however far that is, and is still listed", async (t) => {
  stopTime(t);
  const keys = await load(new MemoryStore());
  await keys.create(EVERYBODY, ADMIN);
  const expiresAt = Date.now() + 400 * DAY_MS;
  const { apiKey, accessKey } = await keys.create(EVERYBODY, { ...READER, expiresAt });
  const { apiKey: rotated } = await keys.rotate(EVERYBODY, { id: accessKey.id, overlapSeconds: 3_600 });
  t.mock.timers.tick(HOUR_MS);
  refused(keys, apiKey);
  const { signal } = keys.authenticate(rotated);
  const soon = await keys.create(EVERYBODY, { ...READER, expiresAt: Date.now() + 60_000 });
  await keys.rotate(EVERYBODY, { id: soon.accessKey.id, overlapSeconds: 3_600 });
  t.mock.timers.tick(60_000);
  refused(keys, soon.apiKey);
  t.mock.timers.tick(400 * DAY_MS - HOUR_MS - 60_001);
  assert.equal(keys.authenticate(rotated).signal.aborted, false);
  t.mock.timers.tick(1);
  assert.equal(reasonOf(signal), "CREDENTIALS_INVALID");
  refused(keys, rotated);
  assert.equal((await keys.list(EVERYBODY, { ...PAGE, prefix: accessKey.id })).items.length, 1);
  await assert.rejects(keys.rotate(EVERYBODY, { id: accessKey.id, overlapSeconds: 0 }), {
    reason: "INVALID_FIELD",
    message: /has expired/,
  });
});

test("a clock that is put forward is noticed within the hour, and at once by calls", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let now = 1_800_000_000_000;
  t.mock.method(Date, "now", () => now);
  let ran = 0;
  atTime(now + 20 * DAY_MS, () => ran++);
  atTime(now + 1_000, () => assert.fail("it was called off")).cancel();
  const keys = await load(new MemoryStore());
  await keys.create(EVERYBODY, ADMIN);
  const { apiKey } = await keys.create(EVERYBODY, { ...READER, expiresAt: now + 20 * DAY_MS });
  const { signal } = keys.authenticate(apiKey);
  now += 20 * DAY_MS;
  refused(keys, apiKey);
  assert.deepEqual([ran, signal.aborted], [0, false]);
  t.mock.timers.tick(HOUR_MS);
  assert.deepEqual([ran, reasonOf(signal)], [1, "CREDENTIALS_INVALID"]);
});

test("the last use is noted to the hour, in one write an hour", async (t) => {
  stopTime(t);
  const store = new MemoryStore();
  const keys = await load(store);
  const { apiKey, accessKey } = await keys.create(EVERYBODY, ADMIN);
  const lastUse = async (each: AccessKeys) => (await each.list(EVERYBODY, PAGE)).items[0]?.lastUsedAt;
  assert.equal(await lastUse(keys), undefined);
  const start = Date.now() - (Date.now() % HOUR_MS);
  t.mock.timers.setTime(start + HOUR_MS);
  const writes = store.writes;
  for (let minute = 0; minute < 150; minute++) {
    keys.authenticate(apiKey);
    t.mock.timers.tick(60_000);
  }
  refused(keys, apiKey.slice(0, -1));
  // Comes after every change before it.
  const current = await keys.rotate(EVERYBODY, { id: accessKey.id, overlapSeconds: 0 });
  assert.equal(store.writes - writes, 3 + 1);
  assert.equal(await lastUse(keys), start + 3 * HOUR_MS);
  assert.equal(await lastUse(await load(store)), start + 3 * HOUR_MS);

  // Also a use while another change is being stored.
  const opened = Promise.withResolvers<void>();
  store.gate = opened.promise;
  const before = store.writes;
  const rotating = keys.rotate(EVERYBODY, { id: accessKey.id, overlapSeconds: 0 });
  await until(() => store.writes > before);
  t.mock.timers.tick(HOUR_MS);
  keys.authenticate(current.apiKey);
  opened.resolve();
  await rotating;
  assert.equal(await lastUse(keys), start + 4 * HOUR_MS);
});

test("secrets that sign are kept encrypted, for the server with the secrets key alone", async () => {
  const store = new MemoryStore();
  const key = new SecretsKey(randomBytes(32));
  const without = await load(store);
  const signing = { ...ADMIN, allowSigning: true };
  await assert.rejects(without.create(EVERYBODY, signing), {
    reason: "SECRETS_KEY_MISSING",
    code: "FAILED_PRECONDITION",
    message: /--secrets-key-file/,
  });
  const keys = await load(store, key);
  const { accessKey, secret } = await keys.create(EVERYBODY, signing);
  const { id } = accessKey;
  assert.equal(accessKey.allowSigning, true);
  const plain = await keys.create(EVERYBODY, ADMIN);
  const rotated = await keys.rotate(EVERYBODY, { id, overlapSeconds: 60 });
  assert.equal([...store.records.values()].join().includes(secret), false);
  for (const each of [keys, await load(store, key)]) {
    const found = each.signingSecrets(id);
    assert.deepEqual(
      found.map((one) => one.secret),
      [rotated.secret, secret],
    );
    assert.equal(found[0]?.credential, each.authenticate(rotated.apiKey));
    assert.deepEqual([each.signingSecrets(plain.accessKey.id), each.signingSecrets("QK")], [[], []]);
  }
  const later = await load(store);
  assert.deepEqual(later.signingSecrets(id), []);
  assert.equal(later.authenticate(rotated.apiKey).keyId, id);
  await assert.rejects(later.rotate(EVERYBODY, { id, overlapSeconds: 0 }), { reason: "SECRETS_KEY_MISSING" });
  await assert.rejects(load(store, new SecretsKey(randomBytes(32))), {
    reason: "INVALID_FIELD",
    message: /--secrets-key-file or QUIVER_SECRETS_KEY/,
  });
  await keys.rotate(EVERYBODY, { id, overlapSeconds: 0 });
  assert.equal(keys.signingSecrets(id).length, 1);
  // A sealed secret that is moved to another access key opens for neither.
  const record = JSON.parse(store.records.get(id) ?? "");
  store.records.set(id, JSON.stringify({ ...record, id: plain.accessKey.id }));
  await assert.rejects(load(store, key), { reason: "INVALID_FIELD" });
});

test("what an access key is created with is checked", async () => {
  const keys = await load(new MemoryStore());
  const { accessKey } = await keys.create(EVERYBODY, ADMIN);
  const scopes = (count: number): AccessScope[] => Array.from({ length: count }, () => ({ bucket: "b" }));
  const accepted: Partial<AccessKeyRequest>[] = [
    { displayName: "ü".repeat(128) },
    { scopes: scopes(100) },
    { scopes: [{}, { bucket: "*" }, { index: "i*" }, { namespace: "" }, { bucket: `${"b".repeat(63)}*` }] },
    { expiresAt: Date.UTC(9999, 11, 31) },
  ];
  for (const fields of accepted) await keys.create(EVERYBODY, { ...READER, ...fields });
  const fallback = await keys.create(EVERYBODY, { ...READER, scopes: [{ namespace: "__default__" }] });
  assert.deepEqual(fallback.accessKey.scopes, [{ namespace: "" }]);
  const wrong: [Partial<AccessKeyRequest>, string][] = [
    [{ displayName: "x".repeat(129) }, "display_name"],
    [{ role: undefined }, "role"],
    [{ role: "admin", scopes: scopes(1) }, "scopes"],
    [{ scopes: scopes(101) }, "scopes"],
    [{ scopes: [{ bucket: "a" }, { bucket: "*b" }] }, "scopes[1].vector_bucket_name"],
    [{ scopes: [{ bucket: "" }] }, "scopes[0].vector_bucket_name"],
    [{ scopes: [{ index: "a**" }] }, "scopes[0].index_name"],
    [{ scopes: [{ index: "i".repeat(64) }] }, "scopes[0].index_name"],
    [{ scopes: [{ namespace: "a/b" }] }, "scopes[0].namespace"],
    [{ scopes: [{ namespace: "-*" }] }, "scopes[0].namespace"],
    [{ expiresAt: Date.now() - 1 }, "expire_time"],
    [{ expiresAt: Number.NaN }, "expire_time"],
    [{ expiresAt: Date.UTC(10_000, 0) }, "expire_time"],
  ];
  for (const [fields, field] of wrong) {
    await assert.rejects(keys.create(EVERYBODY, { ...READER, ...fields }), (error: QuiverError) => {
      assert.deepEqual([error.reason, error.violations[0]?.field], ["INVALID_FIELD", field], JSON.stringify(fields));
      return true;
    });
  }
  const { id } = accessKey;
  await keys.rotate(EVERYBODY, { id, overlapSeconds: 604_800 });
  await assert.rejects(keys.rotate(EVERYBODY, { id, overlapSeconds: 604_801 }), {
    message: "overlap_seconds: Must be 0 to 604800, got 604801",
  });
  await assert.rejects(keys.rotate(EVERYBODY, { id: "", overlapSeconds: 0 }), { reason: "INVALID_FIELD" });
  await assert.rejects(keys.delete(EVERYBODY, ""), { reason: "INVALID_FIELD" });
});

test("there are at most 10,000, expired ones too, and all of them are listed page by page", async (t) => {
  stopTime(t);
  const store = new MemoryStore();
  const keys = await load(store);
  const ids: string[] = [(await keys.create(EVERYBODY, ADMIN)).accessKey.id];
  for (let i = 1; i < 10_000; i++) {
    const { accessKey } = await keys.create(EVERYBODY, { ...READER, expiresAt: Date.now() + 1_000 });
    ids.push(accessKey.id);
  }
  t.mock.timers.tick(1_000);
  await assert.rejects(keys.create(EVERYBODY, READER), { reason: "ACCESS_KEY_LIMIT", metadata: { max: "10000" } });
  const listed: string[] = [];
  for (let nextToken = "", more = true; more; more = nextToken !== "") {
    const page = await keys.list(EVERYBODY, { ...PAGE, maxResults: 1_000, nextToken });
    listed.push(...page.items.map(({ id }) => id));
    nextToken = page.nextToken;
  }
  assert.deepEqual(listed, ids.toSorted());
  const [prefix = ""] = [ids[5_000]?.slice(0, 4)];
  const found = await keys.list(EVERYBODY, { ...PAGE, prefix });
  assert.deepEqual(
    found.items.map(({ id }) => id),
    ids.toSorted().filter((id) => id.startsWith(prefix)),
  );
  await keys.delete(EVERYBODY, ids[1] ?? "");
  await keys.create(EVERYBODY, READER);
});

test("only administrators see and change access keys", async () => {
  const store = new MemoryStore();
  const keys = await load(store);
  const { accessKey } = await keys.create(EVERYBODY, ADMIN);
  const { writes } = store;
  const writer: Caller = { ...EVERYBODY, keyId: "QKW", role: "read-write" };
  const calls = [
    () => keys.create(writer, READER),
    () => keys.rotate(writer, { id: accessKey.id, overlapSeconds: 0 }),
    () => keys.list(writer, PAGE),
    () => keys.delete(writer, "none"),
  ];
  for (const call of calls) await assert.rejects(call, { reason: "NOT_ALLOWED" });
  assert.equal(store.writes, writes);
});
