import { invalidField, QuiverError } from "../../../errors.ts";
import type { Filter } from "../../../filter/filter.ts";
import type { Metadata, MetadataValue, UpdateOptions, Vector, VectorInput, VectorUpdate } from "../../engine.ts";
import type { Partition } from "../partition.ts";
import { type PreparedVector, prepareVector, type Records } from "../records.ts";
import { type Change, type MetadataUpdate, NOTHING } from "./change.ts";

/** Bytes of the records of one change by filter: it is built, and shown, in one turn. */
const FILTER_WRITE_BYTES_MAX = 32 * 1024 * 1024;

/** Bytes of the keys that one write may take from a whole namespace: they go into the log of changes. */
const CLEARED_KEY_BYTES_MAX = 256 * 1024 * 1024;

/** Changes of metadata by filter whose vectors are read whole for those who watch; of more, the log on disk tells. */
const WHOLE_CHANGES_MAX = 1_000;

/** Metadata records read and merged before other work has its turn. */
const UPDATE_CHUNK = 1_000;

/** What a record takes in a batch beside its key and value, roughly. */
const RECORD_OVERHEAD_BYTES = 100;

/** Changes by key; absent keys are passed over, but for an if_version. With other writes of the partition held back. */
export async function planUpdates(
  records: Records,
  partition: Partition,
  { updates, options }: { readonly updates: readonly VectorUpdate[]; readonly options: UpdateOptions },
): Promise<Change> {
  assertVersions(partition, updates, { mustExist: true });
  const keys = updates.map(({ key }) => key);
  const projection = { data: true, metadata: true };
  const stored = await records.get(partition.namespace, keys, { projection });
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

/** One merge into the metadata of all that matches. With other writes of the partition held back. */
export async function planUpdateOfMatching(
  records: Records,
  partition: Partition,
  {
    filter,
    setMetadata,
    options,
  }: { readonly filter: Filter; readonly setMetadata: Metadata; readonly options: UpdateOptions },
): Promise<Change> {
  const keys = partition.set.keysOf(partition.set.select(filter));
  const metadata: MetadataUpdate[] = [];
  let bytes = 0;
  for (let at = 0; at < keys.length; at += UPDATE_CHUNK) {
    const projection = { data: keys.length <= WHOLE_CHANGES_MAX, metadata: true };
    const some = keys.slice(at, at + UPDATE_CHUNK);
    for (const vector of await records.get(partition.namespace, some, { projection })) {
      if (!vector) continue;
      const before = vector.metadata ?? {};
      const after = merge(before, setMetadata);
      options.assertMetadata(vector.key, after);
      const change = metadataUpdate(vector.key, { before, after, whole: projection.data ? vector : undefined });
      metadata.push(change);
      bytes += vector.key.length + change.metadataJson.length + RECORD_OVERHEAD_BYTES;
    }
    assertBatch(bytes, FILTER_WRITE_BYTES_MAX);
  }
  return { ...NOTHING, metadata };
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

/** Throws VERSION_MISMATCH when a stored vector has another version than asked for; 0 is that of an absent one. */
export function assertVersions(
  partition: Partition,
  vectors: readonly { readonly key: string; readonly ifVersion?: number | undefined }[],
  { mustExist }: { readonly mustExist: boolean },
): void {
  for (const { key, ifVersion } of vectors) {
    if (ifVersion === undefined) continue;
    const version = partition.set.versionOf(key);
    if (ifVersion === version && !(mustExist && version === 0)) continue;
    throw new QuiverError(
      "VERSION_MISMATCH",
      `Key ${JSON.stringify(key)} has version ${version}, if_version says ${ifVersion}; 0 stands for a key that is absent`,
      { metadata: { key, version: `${version}`, if_version: `${ifVersion}` } },
    );
  }
}

/** Throws REQUEST_TOO_LARGE when one write cannot delete so many keys; `clears`: all of a namespace. */
export function assertDeletes(keys: readonly string[], { clears }: { readonly clears: boolean }): void {
  const keyBytes = keys.reduce((sum, key) => sum + key.length, 0);
  if (clears) assertBatch(keyBytes, CLEARED_KEY_BYTES_MAX);
  else assertBatch(2 * keyBytes + keys.length * RECORD_OVERHEAD_BYTES, FILTER_WRITE_BYTES_MAX);
}

/** Throws REQUEST_TOO_LARGE when a batch has more bytes than one write may have. */
function assertBatch(bytes: number, max: number): void {
  if (bytes <= max) return;
  throw new QuiverError(
    "REQUEST_TOO_LARGE",
    `One write cannot change so many vectors: at most ${max} bytes of records; change them in parts, by narrower filters`,
    { metadata: { max: `${max}` } },
  );
}
