/** A bug that somebody might write, and the test that must notice it. */
export interface PlantedBug {
  readonly name: string;
  /** The file that is changed; a file in native/ is built again. */
  readonly file: string;
  /** A text that stands in the file once, and what stands there with the bug. */
  readonly search: string;
  readonly replace: string;
  /** The test that must fail; its name starts so. */
  readonly test: { readonly file: string; readonly name: string };
  /** Beside the environment of this process, such as how many rounds the test has. */
  readonly env?: Readonly<Record<string, string>>;
}

const STORE = "src/engine/embedded/storage/store.ts";
const ACKNOWLEDGED = "src/engine/embedded/storage/acknowledged.ts";
const DISK_GUARD = "src/engine/embedded/storage/disk-guard.ts";
const STORAGE_TEST = "test/engine/storage.test.ts";
const DISK_FULL_TEST = {
  file: "test/crash/disk-full.test.ts",
  name: "a full disk refuses what grows, answers all else",
};
const SAVED_TEST = "test/engine/saved-graphs.test.ts";
const BACKUP_TEST = "test/engine/backup.test.ts";
const WRITE_TEST = "test/native/rocksdb-write.test.ts";
const EMBEDDED_TEST = "test/engine/embedded.test.ts";

export const PLANTED_BUGS: readonly PlantedBug[] = [
  // What is acknowledged.
  {
    name: "writes are acknowledged before they are synced",
    file: "native/rocksdb-writer.cc",
    search: "options.sync = true;",
    replace: "options.sync = false;",
    test: { file: WRITE_TEST, name: "batches that wait together share an fsync" },
  },
  {
    name: "a log that is damaged in its middle is read around the damage",
    file: "native/rocksdb-open.cc",
    search: "WALRecoveryMode::kTolerateCorruptedTailRecords",
    replace: "WALRecoveryMode::kSkipAnyCorruptedRecords",
    test: { file: "test/native/rocksdb-damage.test.ts", name: "damage is CORRUPTION" },
  },
  {
    name: "the first record of a batch is written by itself",
    file: STORE,
    search: "      await this.database.write(batch.bytes(), this.disk.leastFree(kind));",
    replace: `      const all = batch.bytes();
      const lengths = new DataView(all.buffer, all.byteOffset);
      const first = 13 + lengths.getUint32(5, true) + lengths.getUint32(9, true);
      await this.database.write(all.slice(0, first));
      await this.database.write(all.slice(first));`,
    test: { file: "test/crash/kill.test.ts", name: "what was acknowledged before a kill -9 is there" },
    env: { QUIVER_TEST_KILLS: "6" },
  },
  {
    name: "the store goes on writing after a write of unknown outcome",
    file: STORE,
    search: "    this.#fault = fault;\n",
    replace: "    this.#fault = undefined;\n",
    test: { file: "test/crash/failpoints.test.ts", name: "a write that memory cannot show is durable" },
  },
  {
    name: "the high-water mark is not compared with what is there",
    file: STORE,
    search: "if (marked !== undefined && lsn < marked) {",
    replace: "if (marked !== undefined && lsn < 0) {",
    test: { file: STORAGE_TEST, name: "data that has lost what was acknowledged is refused" },
  },
  {
    name: "the high-water mark is written ahead",
    file: STORE,
    search: "const lsn = this.#appliedLsn;\n",
    replace: "const lsn = this.#assignedLsn + 1;\n",
    test: { file: STORAGE_TEST, name: "the mark of what is acknowledged follows the writes" },
  },
  {
    name: "the checksum of the high-water mark is not compared",
    file: ACKNOWLEDGED,
    search: "slot.readUInt32LE(CHECKED_BYTES) === crc32(slot.subarray(0, CHECKED_BYTES)) &&",
    replace: "",
    test: { file: STORAGE_TEST, name: "one damaged slot of the mark is no matter" },
  },
  {
    name: "the newer half of the high-water mark is written over",
    file: ACKNOWLEDGED,
    search: "const slot = newest(this.#marks) === this.#marks[0] ? 1 : 0;",
    replace: "const slot = newest(this.#marks) === this.#marks[0] ? 0 : 1;",
    test: { file: STORAGE_TEST, name: "whatever a torn write leaves of one slot" },
  },
  {
    name: "a manifest that was cut off is not noticed",
    file: STORE,
    search: "  await assertManifestWhole(path);\n",
    replace: "",
    test: { file: STORAGE_TEST, name: "a manifest that is shorter than it was is refused" },
  },
  {
    name: "vectors that the catalog does not know are dropped",
    file: "src/engine/embedded/embedded-engine.ts",
    search: "if (!isDropped && entries.length > 0) {",
    replace: "if (!isDropped && entries.length < 0) {",
    test: { file: EMBEDDED_TEST, name: "vectors that the catalog does not know are never removed" },
  },

  // A full disk.
  {
    name: "the disk guard is off by its sign",
    file: DISK_GUARD,
    search: "if (this.#estimate - needed < this.#floorOf(kind)) {",
    replace: "if (this.#estimate - needed > this.#floorOf(kind)) {",
    test: { file: "test/engine/storage.test.ts", name: "the mark of what is acknowledged follows the writes" },
  },
  {
    name: "writes go on at the very byte at which they stopped",
    file: DISK_GUARD,
    search: "return this.#problem ? this.reserve * RESUME_SHARE : this.reserve;",
    replace: "return this.reserve;",
    test: { file: "test/engine/storage-disk.test.ts", name: "once it has refused, the guard waits for more room" },
  },
  {
    name: "deletes are refused on a full disk like puts",
    file: DISK_GUARD,
    search: 'if (kind !== "grow" || !this.#options.guards) return',
    replace: "if (!this.#options.guards) return",
    test: DISK_FULL_TEST,
  },

  // Saved graphs.
  {
    name: "a saved graph that shows lost writes is used",
    file: "src/engine/embedded/set/saved-graphs.ts",
    search: "if (header.lsn > lsn) throw",
    replace: "if (header.lsn < 0) throw",
    test: { file: SAVED_TEST, name: "a saved graph of writes that the store has lost is never used" },
  },
  {
    name: "vectors that were deleted after a save come back with it",
    file: "src/engine/embedded/set/set-restorer.ts",
    search: "if (keys.length > 0) this.set.delete(keys);",
    replace: "",
    test: { file: SAVED_TEST, name: "cosine: a start with a saved graph and later writes" },
  },
  {
    name: "vectors that were overwritten after a save keep their old data",
    file: "src/engine/embedded/set/set-restorer.ts",
    search: "return record.version <= this.#lsn && hasBit(",
    replace: "return hasBit(",
    test: { file: SAVED_TEST, name: "cosine: a start with a saved graph and later writes" },
  },
  {
    name: "the checksum of saved keys is not compared",
    file: "src/engine/embedded/set/key-file.ts",
    search: "if (left !== 0 || stored.readUInt32LE(0) !== checksum) throw",
    replace: "if (left !== 0) throw",
    test: { file: SAVED_TEST, name: "damaged files are refused" },
  },

  // Backups.
  {
    name: "a restore does not compare checksums",
    file: "src/engine/embedded/backup/restore.ts",
    search: "if (found.sha256 !== expected.sha256) {",
    replace: "if (found.size < 0) {",
    test: { file: BACKUP_TEST, name: "damage of any file of a backup is found" },
  },
  {
    name: "a restore overwrites what is there",
    file: "src/engine/embedded/backup/restore.ts",
    search: "if (content.length === 0) return false;",
    replace: "if (content.length >= 0) return false;",
    test: { file: BACKUP_TEST, name: "a backup is restored into an empty or absent directory only" },
  },
  {
    name: "a verification leaves the indexes out",
    file: "src/engine/embedded/verify/verifier.ts",
    search: "for (const index of only ? [only] : indexes()) await index.verify(findings);",
    replace: "if (only) await only.verify(findings);",
    test: { file: "test/engine/verify.test.ts", name: "what does not fit together in the store is found" },
  },

  // Writes and reads.
  {
    name: "a write with an idempotency key is not remembered",
    file: "src/engine/embedded/writes/remembered-writes.ts",
    search: "      isRemembered = true;\n      batch.put(",
    replace: "      isRemembered = true;\n      if (!batch) batch.put(",
    test: {
      file: "test/rpc/vectors.test.ts",
      name: "a write that is repeated with its idempotency key answers the same",
    },
  },
  {
    name: "if_version is compared beside other writes of the key",
    file: "src/engine/embedded/writes/writes.ts",
    search:
      "if (vectors.some(({ ifVersion }) => ifVersion !== undefined)) return this.#exclusively(partition, commit);",
    replace: "",
    test: { file: EMBEDDED_TEST, name: "embedded: of writes side by side over one version one succeeds" },
  },
  {
    name: "a delete is not in the log of changes",
    file: "src/engine/embedded/changes/logged-changes.ts",
    search: "of encodeChanges(header, keys))",
    replace: "of encodeChanges(header, { ...keys, deletes: [] }))",
    test: { file: "test/engine/change-log.test.ts", name: "watchers that stop and resume 100 times" },
  },
  {
    name: "the last condition of an $and is passed over",
    file: "src/filter/compile.ts",
    search: "for (const each of rest) this.#with",
    replace: "for (const each of rest.slice(1)) this.#with",
    test: { file: "test/unit/filter-random.test.ts", name: "5000 random filters" },
    env: { QUIVER_TEST_FILTERS: "5000" },
  },
  {
    name: "a page of a list leaves out its last vector",
    file: "src/engine/embedded/reads/listing.ts",
    search: "if (room <= 0 || bytes >= maxBytes) return { items, more: true, next: last };",
    replace: "if (room <= 0 || bytes >= maxBytes) return { items: items.slice(0, -1), more: true, next: last };",
    test: { file: "test/rpc/pages.test.ts", name: "the pages of a list show every key that nobody touches once" },
  },
  {
    name: "a page of a list begins with the last vector of the one before",
    file: "src/engine/embedded/records.ts",
    search: "? from : successor(storeKey(METADATA_KIND, namespace, after));",
    replace: "? from : storeKey(METADATA_KIND, namespace, after);",
    test: { file: EMBEDDED_TEST, name: "embedded: pages and segments of a list show every key once" },
  },
  {
    name: "the unindexed tail is not searched beside the graph",
    file: "native/graph-search.h",
    search: "tailUnits = tail ? search.view_.tail.size() * groups : 0;",
    replace: "tailUnits = tail && !walks ? search.view_.tail.size() * groups : 0;",
    test: { file: EMBEDDED_TEST, name: "embedded: graph queries reach the recall, see the unindexed tail" },
  },

  // Requests.
  {
    name: "a connection that breaks in the middle of a request ends the server",
    file: "src/http/port.ts",
    search: 'request.on("error", () => {});',
    replace: "",
    test: { file: "test/rpc/fuzz.test.ts", name: "malformed requests are refused" },
    env: { QUIVER_TEST_FUZZ: "6000" },
  },
  {
    name: "errors do not say when to try again",
    file: "src/rpc/error.ts",
    search: "if (retryAfterMs !== undefined) {",
    replace: "if (retryAfterMs === -1) {",
    test: { file: "test/rpc/admission.test.ts", name: "is refused with OVERLOADED and a delay" },
  },
  {
    name: "a client keeps its turn as long as it has calls",
    file: "src/rpc/admission-queue.ts",
    search: "if (calls.size > 0) this.#waiting.set(client, calls);",
    replace: `if (calls.size > 0) {
        const others = [...this.#waiting];
        this.#waiting.clear();
        for (const [name, waiting] of [[client, calls], ...others] as const) this.#waiting.set(name, waiting);
      }`,
    test: { file: "test/rpc/admission.test.ts", name: "has its turn after the first of every other client" },
  },
  {
    name: "who repeats refused calls at once is told at once",
    file: "src/rpc/refusal-pace.ts",
    search: "if (credit.left < 1) return false;",
    replace: "",
    test: { file: "test/rpc/admission.test.ts", name: "comes late, and those of other clients at once" },
  },
  {
    name: "a crash does not say what ran",
    file: "src/engine/embedded/crash-notes.ts",
    search: "  addon.keepCrashNotes(slots);\n",
    replace: "",
    test: { file: "test/crash/supervise.test.ts", name: "a native crash: the server is back by itself" },
  },
];
