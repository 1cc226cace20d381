import type { WriteBatch } from "../../../native/write-batch.ts";
import { invalidField, QuiverError } from "../../errors.ts";
import { countBits, ordinalsOf } from "../../filter/bitmap.ts";
import type { Filter } from "../../filter/filter.ts";
import type {
  Metadata,
  MetadataValue,
  PutOptions,
  Selection,
  Update,
  UpdateOptions,
  Vector,
  VectorInput,
  VectorUpdate,
  WriteOptions,
} from "../engine.ts";
import type { ChangeLog } from "./change-log.ts";
import { putJobRecord } from "./job-store.ts";
import type { Partition } from "./partition.ts";
import { type PreparedVector, prepareVector, type Records } from "./records.ts";
import type { Remember, RememberedWrites } from "./remembered-writes.ts";
import type { Store } from "./store.ts";
import type { Usage } from "./usage.ts";

/** Bytes of one batch of changes by filter. */
const FILTER_WRITE_BYTES_MAX = 256 * 1024 * 1024;

/** Changes of metadata by filter whose vectors are read whole for those who watch; of more, the log on disk tells. */
const WHOLE_CHANGES_MAX = 1_000;

/** Metadata records read and merged before other work has its turn. */
const UPDATE_CHUNK = 1_000;

/** What a record takes in a batch beside its key and value, roughly. */
const RECORD_OVERHEAD_BYTES = 100;

/** Thrown when a namespace was deleted while a write waited for its turn. */
export class PartitionGone extends Error {}

export interface WritesOptions {
  readonly store: Store;
  readonly records: Records;
  readonly changes: ChangeLog;
  readonly remembered: RememberedWrites;
  readonly usage: Usage;
  /** Throws once the index is deleted or closed. */
  readonly assertThere: () => void;
  /** True once the index is deleted or closed: a durable write is no longer shown. */
  readonly isGone: () => boolean;
  /** Hears how many bytes of records a write made useless. */
  readonly onGarbage: (bytes: number) => void;
}

/** A change of the vectors of one partition, ready to be committed. */
interface Change {
  readonly puts: readonly PreparedVector[];
  readonly metadata: readonly MetadataUpdate[];
  readonly deletes: readonly string[];
  /** Delete everything; `deletes` are all keys. */
  readonly clears?: boolean;
}

interface MetadataUpdate {
  readonly key: string;
  readonly before: Metadata;
  readonly after: Metadata;
  readonly metadataJson: Uint8Array;
  readonly grownBy: number;
  /** For those who watch; undefined when there are too many. */
  readonly whole: Vector | undefined;
}

const NOTHING: Change = { puts: [], metadata: [], deletes: [] };

/** The writes of one index: what they check, their batches, and what they do to memory. */
export class Writes {
  readonly #options: WritesOptions;

  constructor(options: WritesOptions) {
    this.#options = options;
  }

  put(partition: Partition, vectors: readonly VectorInput[], options: PutOptions): Promise<{ lsn: number }> {
    const prepared = vectors.map(prepareVector);
    const also = (batch: WriteBatch, lsn: number) => {
      if (options.job) putJobRecord(batch, options.job(lsn));
    };
    return this.#options.remembered.once(partition.namespace, options.idempotency, async (remember) => {
      const commit = async () => {
        assertVersions(partition, vectors);
        const change = { ...NOTHING, puts: prepared };
        const lsn = await this.#commit(partition, change, (batch, lsn) => {
          also(batch, lsn);
          remember(batch, { lsn });
        });
        return { lsn };
      };
      if (vectors.some(({ ifVersion }) => ifVersion !== undefined)) return this.#exclusively(partition, commit);
      return this.#beside(partition, { keys: vectors.map(({ key }) => key), present: true }, commit);
    });
  }

  update(partition: Partition, update: Update, options: UpdateOptions) {
    type Answer = { lsn: number; matchedCount: number; updatedCount: number };
    return this.#options.remembered.once<Answer>(partition.namespace, options.idempotency, (remember) =>
      this.#exclusively(partition, async () => {
        if (update.kind === "filter" && options.dryRun) {
          const matchedCount = countBits(partition.set.select(update.filter));
          return { lsn: this.#options.store.lsn, matchedCount, updatedCount: 0 };
        }
        const change =
          update.kind === "keys"
            ? await this.#updateKeys(partition, update.updates, options)
            : await this.#updateMatching(partition, update, options);
        const matchedCount = change.puts.length + change.metadata.length;
        if (options.dryRun || matchedCount === 0) {
          return { lsn: this.#options.store.lsn, matchedCount, updatedCount: 0 };
        }
        const counts = { matchedCount, updatedCount: matchedCount };
        const lsn = await this.#commit(partition, change, (batch, lsn) => remember(batch, { lsn, ...counts }));
        return { lsn, ...counts };
      }),
    );
  }

  delete(partition: Partition, selection: Selection, options: WriteOptions) {
    type Answer = { lsn: number; deletedCount: number; notFoundCount: number };
    return this.#options.remembered.once<Answer>(partition.namespace, options.idempotency, (remember) =>
      selection.kind === "keys"
        ? this.#deleteKeys(partition, selection.keys, remember)
        : this.#exclusively(partition, async () => {
            const deletes = selection.kind === "all" ? [...partition.set.keys()] : keysOf(partition, selection.filter);
            assertBatch(deletes.reduce((sum, key) => sum + 2 * (key.length + RECORD_OVERHEAD_BYTES), 0));
            const counts = { deletedCount: deletes.length, notFoundCount: 0 };
            if (deletes.length === 0) return { lsn: this.#options.store.lsn, ...counts };
            const change = { ...NOTHING, deletes, clears: selection.kind === "all" };
            const lsn = await this.#commit(partition, change, (batch, lsn) => remember(batch, { lsn, ...counts }));
            return { lsn, ...counts };
          }),
    );
  }

  /** Deletes a namespace with its vectors; its partition is disposed of, or emptied when it is the default one. */
  deleteNamespace(partition: Partition, onDeleted: () => void): Promise<{ lsn: number; deletedCount: number }> {
    return this.#exclusively(partition, async () => {
      const deletes = [...partition.set.keys()];
      const change = { ...NOTHING, deletes, clears: true };
      const lsn = await this.#commit(
        partition,
        change,
        (batch) => this.#options.records.deleteNamespace(batch, partition.namespace),
        onDeleted,
      );
      return { lsn, deletedCount: deletes.length };
    });
  }

  #deleteKeys(
    partition: Partition,
    keys: readonly string[],
    remember: Remember<{ lsn: number; deletedCount: number; notFoundCount: number }>,
  ) {
    return this.#beside(partition, { keys, present: false }, async () => {
      const deletedCount = keys.filter((key) => partition.willExist(key)).length;
      const counts = { deletedCount, notFoundCount: keys.length - deletedCount };
      const deletes = keys.filter((key) => partition.mayExist(key));
      if (deletes.length === 0) return { lsn: this.#options.store.lsn, ...counts };
      const change = { ...NOTHING, deletes };
      const lsn = await this.#commit(partition, change, (batch, lsn) => remember(batch, { lsn, ...counts }));
      return { lsn, ...counts };
    });
  }

  /** Throws ITEM_LIMIT when a put of these vectors would pass a quota now. */
  assertRoom(partition: Partition | undefined, vectors: readonly VectorInput[]): void {
    const puts = vectors.map(prepareVector);
    const growth = partition ? growthOf(partition, { ...NOTHING, puts }) : ([puts.length, bytesIn(puts)] as const);
    this.#options.usage.assertRoom(...growth);
  }

  /** Records an empty namespace; fails with NAMESPACE_EXISTS. */
  createNamespace(partition: Partition): Promise<void> {
    return this.#exclusively(partition, async () => {
      const { namespace } = partition;
      if (partition.recorded) {
        throw new QuiverError("NAMESPACE_EXISTS", `Namespace "${namespace}" exists already`, {
          resource: { type: "namespace", name: namespace },
        });
      }
      await this.#commit(partition, NOTHING, () => {});
    });
  }

  async #updateKeys(partition: Partition, updates: readonly VectorUpdate[], options: UpdateOptions): Promise<Change> {
    assertVersions(partition, updates);
    const keys = updates.map(({ key }) => key);
    const projection = { data: true, metadata: true };
    const stored = await this.#options.records.get(partition.namespace, keys, { projection });
    const puts: PreparedVector[] = [];
    const metadata: MetadataUpdate[] = [];
    for (const [i, update] of updates.entries()) {
      const vector = stored[i];
      if (!vector) continue;
      const before = vector.metadata ?? {};
      const after = update.setMetadata ? merge(before, update.setMetadata) : before;
      if (update.setMetadata) options.assertMetadata(update.key, after);
      if (update.data || update.sparse) puts.push(prepareVector(replaceParts(i, vector, update, after)));
      else metadata.push(metadataUpdate(vector.key, { before, after, whole: vector }));
    }
    return { ...NOTHING, puts, metadata };
  }

  async #updateMatching(
    partition: Partition,
    { filter, setMetadata }: { readonly filter: Filter; readonly setMetadata: Metadata },
    options: UpdateOptions,
  ): Promise<Change> {
    const keys = keysOf(partition, filter);
    const metadata: MetadataUpdate[] = [];
    let bytes = 0;
    for (let at = 0; at < keys.length; at += UPDATE_CHUNK) {
      const projection = { data: keys.length <= WHOLE_CHANGES_MAX, metadata: true };
      const some = keys.slice(at, at + UPDATE_CHUNK);
      for (const vector of await this.#options.records.get(partition.namespace, some, { projection })) {
        if (!vector) continue;
        const before = vector.metadata ?? {};
        const after = merge(before, setMetadata);
        options.assertMetadata(vector.key, after);
        const change = metadataUpdate(vector.key, { before, after, whole: projection.data ? vector : undefined });
        metadata.push(change);
        bytes += vector.key.length + change.metadataJson.length + RECORD_OVERHEAD_BYTES;
      }
      assertBatch(bytes);
    }
    return { ...NOTHING, metadata };
  }

  /** Runs a write that puts (`present`) or deletes keys, beside others; it hands its batch over without an await. */
  #beside<T>(
    partition: Partition,
    { keys, present }: { readonly keys: readonly string[]; readonly present: boolean },
    write: () => Promise<T>,
  ): Promise<T> {
    return partition.write((pending) => {
      this.#assertThere(partition);
      // Announced after it has looked at what is there before it.
      const written = write();
      pending(keys, present);
      return written;
    });
  }

  #exclusively<T>(partition: Partition, work: () => Promise<T>): Promise<T> {
    return partition.exclusively(() => {
      this.#assertThere(partition);
      return work();
    });
  }

  #assertThere(partition: Partition): void {
    this.#options.assertThere();
    if (partition.isDisposed) throw new PartitionGone();
  }

  /** Commits a change in one batch; without an await before it is handed over. */
  async #commit(
    partition: Partition,
    change: Change,
    also: (batch: WriteBatch, lsn: number) => void,
    onApplied: () => void = () => {},
  ): Promise<number> {
    const { store, usage, isGone, onGarbage } = this.#options;
    const room = usage.reserve(...growthOf(partition, change));
    try {
      const lsn = await store.commit(
        (batch, version) => {
          this.#fill(batch, version, partition, change);
          also(batch, version);
        },
        (version) => {
          if (isGone()) return;
          partition.recorded = true;
          const { size, bytes } = partition.set;
          this.#apply(partition, change, version);
          const grown = partition.set.bytes - bytes;
          room.settle(partition.set.size - size, grown);
          onGarbage(bytesIn(change.puts) - grown);
          onApplied();
        },
      );
      this.#options.assertThere();
      return lsn;
    } finally {
      room.cancel();
    }
  }

  #fill(batch: WriteBatch, version: number, partition: Partition, change: Change): void {
    const { records, changes } = this.#options;
    const { namespace } = partition;
    const { puts, metadata, deletes, clears } = change;
    if (!partition.recorded) records.putNamespace(batch, namespace, partition.createdAt);
    for (const vector of puts) {
      records.put(batch, vector, { namespace, version, replaces: partition.mayExist(vector.key) });
    }
    for (const each of metadata) records.putMetadata(batch, each, { namespace, version });
    if (clears) records.clear(batch, namespace);
    else for (const key of deletes) records.delete(batch, namespace, key);
    const changed = [...puts, ...metadata].map(({ key }) => key);
    changes.record(batch, version, namespace, { puts: changed, deletes });
  }

  #apply(partition: Partition, { puts, metadata, deletes, clears }: Change, version: number): void {
    const gone = deletes.filter((key) => partition.set.has(key));
    if (puts.length > 0) partition.put(puts.map((vector) => ({ ...vector, version })));
    for (const { key, before, after, grownBy, metadataJson } of metadata) {
      partition.setMetadata(key, { before, after, version, grownBy }, metadataJson.length);
    }
    if (clears) partition.clear();
    else if (gone.length > 0) partition.delete(gone);
    const { changes } = this.#options;
    const { namespace } = partition;
    const wholes = metadata.flatMap(({ whole, after }) => (whole ? [{ ...whole, metadata: after, version }] : []));
    if (wholes.length < metadata.length) changes.publishLogged(version);
    else
      changes.publish({ lsn: version, namespace, puts: [...puts.map(published(version)), ...wholes], deletes: gone });
  }
}

function published(version: number) {
  return ({ key, data, sparse, metadata }: PreparedVector): Vector => ({
    key,
    version,
    metadata,
    ...(data && { data }),
    ...(sparse && { sparse }),
  });
}

function bytesIn(vectors: readonly PreparedVector[]): number {
  return vectors.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** How many vectors and bytes a change may add. */
function growthOf(partition: Partition, { puts, metadata }: Change): [vectors: number, bytes: number] {
  const vectors = puts.filter(({ key }) => partition.mayBeAbsent(key)).length;
  const written = puts.reduce((sum, { key, bytes }) => sum + bytes - partition.set.bytesOf(key), 0);
  return [vectors, metadata.reduce((sum, { grownBy }) => sum + grownBy, written)];
}

function keysOf(partition: Partition, filter: Filter): string[] {
  const { set } = partition;
  return Array.from(ordinalsOf(set.select(filter)), (ordinal) => set.keyOf(ordinal)).filter((key) => key !== undefined);
}

function metadataUpdate(
  key: string,
  { before, after, whole }: { before: Metadata; after: Metadata; whole: Vector | undefined },
): MetadataUpdate {
  const { metadataJson, bytes } = prepareVector({ key, metadata: after });
  const grownBy = bytes - prepareVector({ key, metadata: before }).bytes;
  return { key, before, after, metadataJson, grownBy, whole };
}

function replaceParts(i: number, stored: Vector, update: VectorUpdate, metadata: Metadata): VectorInput {
  const data = update.data ?? stored.data;
  const sparse = update.sparse ?? stored.sparse;
  const kept = sparse && sparse.indices.length > 0 ? sparse : undefined;
  if (!data && !kept) {
    throw invalidField(
      `updates[${i}].sparse`,
      "Must have values: the vector has no data, so that nothing would be left",
    );
  }
  return { key: stored.key, metadata, data, sparse: kept };
}

/** Each key of `changes` replaces that key, null removes it. */
function merge(metadata: Metadata, changes: Metadata): Metadata {
  const merged: { [key: string]: MetadataValue } = Object.assign(Object.create(null), metadata);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) delete merged[key];
    else merged[key] = value;
  }
  return merged;
}

function assertVersions(
  partition: Partition,
  vectors: readonly { readonly key: string; readonly ifVersion?: number | undefined }[],
): void {
  for (const { key, ifVersion } of vectors) {
    const version = partition.set.versionOf(key);
    if (ifVersion === undefined || ifVersion === version) continue;
    throw new QuiverError(
      "VERSION_MISMATCH",
      `Key ${JSON.stringify(key)} has version ${version}, if_version says ${ifVersion}; 0 stands for a key that is absent`,
      { metadata: { key, version: `${version}`, if_version: `${ifVersion}` } },
    );
  }
}

function assertBatch(bytes: number): void {
  if (bytes <= FILTER_WRITE_BYTES_MAX) return;
  throw new QuiverError(
    "REQUEST_TOO_LARGE",
    `The filter matches more than one write can change: at most ${FILTER_WRITE_BYTES_MAX} bytes; narrow the filter`,
    { metadata: { max: `${FILTER_WRITE_BYTES_MAX}` } },
  );
}
