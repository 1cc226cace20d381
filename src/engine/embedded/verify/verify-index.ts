import type { Database, Snapshot } from "../../../../native/rocksdb.ts";
import type { Index, IndexRef } from "../../engine.ts";
import type { Partition } from "../partition.ts";
import type { SavedGraphCheck } from "../set/saved-graph-check.ts";
import type { SavedGraphs } from "../set/saved-graphs.ts";
import type { Findings } from "./findings.ts";
import { SetComparison } from "./set-comparison.ts";
import { storedNamespaces, verifyIndexRecords } from "./verify-others.ts";
import { verifyPartition } from "./verify-partition.ts";

export interface IndexCheck {
  readonly database: Database;
  readonly columnFamily: number;
  readonly config: Index;
  /** Its partitions as they are now; undefined when what is stored could not be loaded. */
  readonly partitions: () => readonly Partition[] | undefined;
  readonly saved: SavedGraphs;
}

/** Decodes everything that is stored of an index, and compares it with its memory and with its saved graphs. */
export async function verifyIndex(check: IndexCheck, findings: Findings): Promise<void> {
  const { database, columnFamily, config } = check;
  const index: IndexRef = { bucket: config.bucket, index: config.index };
  // In one turn: a namespace stands in memory before it is stored, and until it is stored no longer.
  const known = check.partitions();
  const stored = await withSnapshot(database, async (snapshot) => {
    const family = { database, columnFamily, snapshot, index };
    await verifyIndexRecords(family, findings);
    return storedNamespaces(family);
  });
  const names = known?.map(({ namespace }) => namespace) ?? [];
  for (const namespace of new Set([...stored, ...names])) {
    if (known && !names.includes(namespace)) {
      findings.add(`Namespace "${namespace}" has vectors but no record`, { index });
    }
    const partition = check.partitions()?.find((each) => each.namespace === namespace);
    await findings.collect(() => verifyNamespace(check, namespace, partition, findings), { index });
  }
  await verifySaved(() => check.saved.check(), findings, index);
}

async function verifyNamespace(
  { database, columnFamily, config }: IndexCheck,
  namespace: string,
  partition: Partition | undefined,
  findings: Findings,
): Promise<void> {
  // Memory and store show the same state only while no write is on its way from one to the other.
  const begin = async () => ({ snapshot: database.snapshot(), size: partition?.set.size });
  const { snapshot, size } = await (partition ? partition.exclusively(begin) : begin());
  const comparison = partition && new SetComparison({ database, columnFamily, config, partition });
  try {
    const where = { database, columnFamily, snapshot, config, namespace };
    const onVector: SetComparison["compare"] = (...vector) => comparison?.compare(...vector);
    const vectors = await verifyPartition({ ...where, onVector }, findings);
    findings.vectors += vectors;
    if (size !== undefined && size !== vectors) {
      findings.add(`Namespace "${namespace}" has ${vectors} vectors in the store and ${size} in memory`, {
        index: config,
      });
    }
    await comparison?.finish(findings);
  } finally {
    snapshot.release();
  }
}

/** The files that hold saved graphs of an index, or of one that is unknown. */
export async function verifySaved(
  check: () => Promise<SavedGraphCheck>,
  findings: Findings,
  index?: IndexRef,
): Promise<void> {
  const { files, bytes, damages } = await check();
  findings.files += files;
  findings.bytes += bytes;
  for (const { file, message } of damages) findings.add(message, { file, index });
}

async function withSnapshot<T>(database: Database, use: (snapshot: Snapshot) => Promise<T>): Promise<T> {
  const snapshot = database.snapshot();
  try {
    return await use(snapshot);
  } finally {
    snapshot.release();
  }
}
