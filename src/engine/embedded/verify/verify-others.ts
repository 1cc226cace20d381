import type { Database, Entries, Snapshot } from "../../../../native/rocksdb.ts";
import type { IndexRef } from "../../engine.ts";
import { decodeAccessKey } from "../access-key-store.ts";
import { decodeChangeHeader, decodeChangeState, decodeChanges, lsnOfChangeKey } from "../changes/change-records.ts";
import {
  ACCESS_KEY_KIND,
  BUCKET_KIND,
  CHANGE_KIND,
  DROPPED_KIND,
  decodeU32,
  decodeU64,
  endOfPrefix,
  FORMAT_KEY,
  FORMAT_VERSION,
  IDEMPOTENCY_KIND,
  INDEX_KIND,
  JOB_KIND,
  JOB_PART_KIND,
  json,
  keyAt,
  LSN_KEY,
  METADATA_KIND,
  NAMESPACE_KIND,
  SPARSE_KIND,
  successor,
  text,
  VECTOR_KIND,
  valueAt,
} from "../layout.ts";
import { scanRange } from "../scan.ts";
import type { Findings } from "./findings.ts";
import { CHUNK_RECORDS } from "./record-cursor.ts";

export interface FamilyCheck {
  readonly database: Database;
  readonly columnFamily: number;
  readonly snapshot: Snapshot;
  readonly index?: IndexRef | undefined;
}

/** Throws when the record is not what was written. */
type Decode = (key: Uint8Array, value: Uint8Array) => void;

const NO_VALUE: Decode = (_, value) => {
  if (value.length > 0) throw new Error(`it has ${value.length} bytes, expected are none`);
};

/** A JSON object under a key that is text after its kind. */
const JSON_OBJECT: Decode = (key, value) => {
  text(key.subarray(1));
  const content = json(value);
  if (typeof content !== "object" || content === null) throw new Error("it is no object");
};

const CATALOG_RECORDS: ReadonlyMap<number, Decode> = new Map<number, Decode>([
  [
    FORMAT_KEY[0] as number,
    (_, value) => {
      const version = decodeU32(value);
      if (version < 1 || version > FORMAT_VERSION) throw new Error(`it is format version ${version}`);
    },
  ],
  [LSN_KEY[0] as number, (_, value) => void decodeU64(value)],
  [BUCKET_KIND, JSON_OBJECT],
  [INDEX_KIND, JSON_OBJECT],
  [DROPPED_KIND, NO_VALUE],
  [JOB_KIND, JSON_OBJECT],
  [JOB_PART_KIND, () => {}],
  [ACCESS_KEY_KIND, decodeAccessKey],
]);

/** What an index stores beside its vectors. */
const INDEX_RECORDS: ReadonlyMap<number, Decode> = new Map<number, Decode>([
  [NAMESPACE_KIND, JSON_OBJECT],
  [IDEMPOTENCY_KIND, JSON_OBJECT],
  [
    CHANGE_KIND,
    (key, value) => {
      if (key.length === 1) return void decodeChangeState(value);
      decodeChangeHeader(value);
      decodeChanges(lsnOfChangeKey(key), value);
    },
  ],
]);

/** The kinds that `verifyPartition` decodes. */
const VECTOR_KINDS: readonly number[] = [VECTOR_KIND, METADATA_KIND, SPARSE_KIND];

/** Decodes every record of the catalog: buckets, indexes, jobs and what jobs still have to do, access keys. */
export async function verifyCatalog(check: FamilyCheck, findings: Findings): Promise<void> {
  await verifyKinds(check, CATALOG_RECORDS, findings);
  await rejectUnknownKinds(check, [...CATALOG_RECORDS.keys()], findings);
}

/** Decodes every record of an index but those of its vectors: namespaces, remembered writes, the log of changes. */
export async function verifyIndexRecords(check: FamilyCheck, findings: Findings): Promise<void> {
  await verifyKinds(check, INDEX_RECORDS, findings);
  await rejectUnknownKinds(check, [...VECTOR_KINDS, ...INDEX_RECORDS.keys()], findings);
}

/** The namespaces that the vectors of an index stand in, whether they are known or not: one read for each. */
export async function storedNamespaces({ database, columnFamily, snapshot }: FamilyCheck): Promise<Set<string>> {
  const namespaces = new Set<string>();
  for (const kind of VECTOR_KINDS) {
    const lt = Uint8Array.of(kind + 1);
    for (let gte: Uint8Array = Uint8Array.of(kind); ; ) {
      const found = await database.scan({ columnFamily, gte, lt, limit: 1, keysOnly: true, snapshot });
      if (found.entries.length === 0) break;
      const key = keyAt(found, 0);
      const end = key.indexOf(0, 1);
      const prefix = key.subarray(0, end === -1 ? key.length : end + 1);
      namespaces.add(Buffer.from(prefix.subarray(1, end === -1 ? undefined : -1)).toString());
      gte = end === -1 ? successor(key) : endOfPrefix(prefix);
    }
  }
  return namespaces;
}

async function verifyKinds(check: FamilyCheck, kinds: ReadonlyMap<number, Decode>, findings: Findings): Promise<void> {
  const { database, columnFamily, snapshot, index } = check;
  for (const [kind, decode] of kinds) {
    const range = {
      columnFamily,
      snapshot,
      from: Uint8Array.of(kind),
      to: Uint8Array.of(kind + 1),
      limit: CHUNK_RECORDS,
    };
    for await (const chunk of scanRange(database, range)) {
      await findings.pause();
      for (let i = 0; i < chunk.entries.length / 4; i++)
        verifyRecord(chunk, i, decode, (problem) => findings.add(problem, { index }));
    }
  }
}

function verifyRecord(chunk: Entries, i: number, decode: Decode, onProblem: (problem: string) => void): void {
  const key = keyAt(chunk, i);
  try {
    decode(key, valueAt(chunk, i));
  } catch (error) {
    onProblem(`Record 0x${Buffer.from(key).toString("hex").slice(0, 80)}: ${(error as Error).message}`);
  }
}

async function rejectUnknownKinds(
  { database, columnFamily, snapshot, index }: FamilyCheck,
  known: readonly number[],
  findings: Findings,
): Promise<void> {
  for (let kind = 0; kind < 256; ) {
    const found = await database.scan({ columnFamily, gte: Uint8Array.of(kind), limit: 1, keysOnly: true, snapshot });
    if (found.entries.length === 0) return;
    const first = keyAt(found, 0)[0] ?? 0;
    if (!known.includes(first)) findings.add(`There are records of the unknown kind ${first}`, { index });
    kind = first + 1;
  }
}
