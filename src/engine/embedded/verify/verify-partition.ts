import type { Database, Snapshot } from "../../../../native/rocksdb.ts";
import { quote } from "../../../errors.ts";
import type { Index, IndexRef } from "../../engine.ts";
import {
  decodeMetadata,
  decodeSparse,
  decodeVector,
  METADATA_KIND,
  SPARSE_KIND,
  text,
  VECTOR_KIND,
} from "../layout.ts";
import type { Findings } from "./findings.ts";
import { CHUNK_RECORDS, RecordCursor } from "./record-cursor.ts";

export interface PartitionCheck {
  readonly database: Database;
  readonly columnFamily: number;
  readonly snapshot: Snapshot;
  readonly config: Index;
  readonly namespace: string;
  /** Hears of each vector that is whole. */
  readonly onVector: (key: string, version: number, data: Float32Array<ArrayBuffer> | undefined) => void;
}

/**
 * Decodes every record of the vectors of one namespace, and compares them with each other: a vector has a metadata record,
 * and a data record, a sparse record, or both. Answers how many there are.
 */
export async function verifyPartition(check: PartitionCheck, findings: Findings): Promise<number> {
  const { database, columnFamily, snapshot, config, namespace } = check;
  const where = { database, columnFamily, snapshot, namespace };
  const [data, sparse, metadata] = (await Promise.all(
    [VECTOR_KIND, SPARSE_KIND, METADATA_KIND].map((kind) => RecordCursor.open(database, { ...where, kind })),
  )) as [RecordCursor, RecordCursor, RecordCursor];
  const cursors = [data, sparse, metadata];
  const index: IndexRef = { bucket: config.bucket, index: config.index };
  let vectors = 0;
  for (let read = 0; ; read++) {
    if (read % CHUNK_RECORDS === 0) await findings.pause();
    const keys = cursors.flatMap(({ key }) => (key ? [key] : []));
    const key = keys.reduce<Uint8Array | undefined>(
      (least, each) => (least && Buffer.compare(least, each) <= 0 ? least : each),
      undefined,
    );
    if (!key) return vectors;
    const here = cursors.filter((cursor) => cursor.key && Buffer.compare(cursor.key, key) === 0);
    if (here.includes(metadata)) vectors++;
    try {
      const vector = decode(config, {
        data: here.includes(data) ? data.value : undefined,
        sparse: here.includes(sparse) ? sparse.value : undefined,
        metadata: here.includes(metadata) ? metadata.value : undefined,
      });
      check.onVector(text(key), vector.version, vector.data);
    } catch (error) {
      const name = quote(Buffer.from(key).toString());
      findings.add(`Vector ${name} of namespace "${namespace}": ${(error as Error).message}`, { index });
    }
    for (const cursor of here) await cursor.next();
  }
}

interface VectorRecords {
  readonly data: Uint8Array<ArrayBuffer> | undefined;
  readonly sparse: Uint8Array<ArrayBuffer> | undefined;
  readonly metadata: Uint8Array<ArrayBuffer> | undefined;
}

/** Throws what is wrong with the records of one vector. */
function decode({ dimension, distanceMetric }: Index, { data, sparse, metadata }: VectorRecords) {
  if (!metadata) throw new Error("it has no metadata record");
  if (!data && !sparse) throw new Error("it has neither data nor sparse values");
  if (sparse && distanceMetric !== "dot_product") throw new Error("it has sparse values in an index that allows none");
  const { version, metadata: content } = decodeMetadata(metadata);
  if (typeof content !== "object" || content === null) throw new Error("its metadata is no object");
  if (sparse) decodeSparse(sparse);
  const vector = data && decodeVector(data);
  if (vector && vector.data.length !== dimension) {
    throw new Error(`it has ${vector.data.length} values in an index of dimension ${dimension}`);
  }
  if (vector && vector.version > version) throw new Error("its data is newer than itself");
  return { version, data: vector?.data };
}
