import type { WriteBatch } from "../../../../native/write-batch.ts";
import { QuiverError } from "../../../errors.ts";
import { countBits } from "../../../filter/bitmap.ts";
import type { PutOptions, Selection, Update, UpdateOptions, VectorInput, WriteOptions } from "../../engine.ts";
import type { ChangeLog } from "../changes/change-log.ts";
import { putJobRecord } from "../job-store.ts";
import type { Partition } from "../partition.ts";
import { type PreparedVector, prepareVector, type Records } from "../records.ts";
import type { Store } from "../storage/store.ts";
import type { Usage } from "../usage.ts";
import { bytesIn, bytesWritten, type Change, growthOf, NOTHING, vectorOf } from "./change.ts";
import type { Remember, RememberedWrites } from "./remembered-writes.ts";
import { assertDeletes, assertVersions, planUpdateOfMatching, planUpdates } from "./updates.ts";

/** An index may be created again with another dimension while a write waits: memory must not refuse what is durable. */
function assertDimension({ set }: Partition, { key, data }: PreparedVector): void {
  if (!data || data.length === set.dimension) return;
  const message = `The vector of key ${JSON.stringify(key)} has ${data.length} values, the index has dimension ${set.dimension}`;
  throw new QuiverError("DIMENSION_MISMATCH", message);
}

/** Deletes go on where the disk has no room for more. */
function grows({ deletes, clears }: Change): boolean {
  return deletes.length === 0 && !clears;
}

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
        assertVersions(partition, vectors, { mustExist: false });
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
            ? await planUpdates(this.#options.records, partition, { updates: update.updates, options })
            : await planUpdateOfMatching(this.#options.records, partition, { ...update, options });
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
            const { set } = partition;
            const deletes = selection.kind === "all" ? [...set.keys()] : set.keysOf(set.select(selection.filter));
            const clears = selection.kind === "all";
            assertDeletes(deletes, { clears });
            const counts = { deletedCount: deletes.length, notFoundCount: 0 };
            if (deletes.length === 0) return { lsn: this.#options.store.lsn, ...counts };
            const change = { ...NOTHING, deletes, clears };
            const lsn = await this.#commit(partition, change, (batch, lsn) => remember(batch, { lsn, ...counts }));
            return { lsn, ...counts };
          }),
    );
  }

  /** Deletes a namespace with its vectors and its record. `onDeleted` runs once that is durable. */
  deleteNamespace(partition: Partition, onDeleted: () => void): Promise<{ lsn: number; deletedCount: number }> {
    return this.#exclusively(partition, async () => {
      const deletes = [...partition.set.keys()];
      assertDeletes(deletes, { clears: true });
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
    for (const vector of change.puts) assertDimension(partition, vector);
    const room = usage.reserve(...growthOf(partition, change));
    try {
      const lsn = await store.commit(
        grows(change) ? "grow" : "shrink",
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
          onGarbage(bytesWritten(change) - grown);
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
    records.put(batch, puts, { namespace, version, replaces: (key) => partition.mayExist(key) });
    records.putMetadata(batch, metadata, { namespace, version });
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
      changes.publish({
        lsn: version,
        namespace,
        puts: [...puts.map((vector) => vectorOf(vector, version)), ...wholes],
        deletes: gone,
      });
  }
}
