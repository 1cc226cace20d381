import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { checkTable } from "../../../../native/rocksdb.ts";
import type { QuiverError } from "../../../errors.ts";
import type { IndexRef, Verification } from "../../engine.ts";
import { GRAPHS, namesIn } from "../set/saved-files.ts";
import { checkSavedGraphs } from "../set/saved-graph-check.ts";
import { ACKNOWLEDGED, findDamage } from "../storage/acknowledged.ts";
import { findLogDamage, isWholeManifest } from "../storage/torn-write.ts";
import { Findings } from "./findings.ts";
import { verifySaved } from "./verify-index.ts";

const TABLE = ".sst";
const CURRENT = "CURRENT";

/** Which tables to read: those of one column family, or all; and whose index each family is. */
export interface TableSelection {
  readonly columnFamily: string | undefined;
  readonly indexOf: (columnFamily: string) => IndexRef | undefined;
}

/**
 * Compares every checksum in every table of a directory: of a checkpoint, whose names are those in the data directory, or
 * of the data directory itself, where a compaction may take tables away meanwhile.
 */
export async function verifyTables(directory: string, selection: TableSelection, findings: Findings): Promise<void> {
  const names = (await readdir(directory)).filter((name) => name.endsWith(TABLE));
  for (const file of names.sort()) {
    await findings.pause();
    const path = join(directory, file);
    const size = await stat(path).then(
      (found) => found.size,
      () => 0,
    );
    const { columnFamily, damage } = await checkTable(path).catch((error: Error) => {
      return { columnFamily: undefined, damage: existsSync(path) ? error.message : undefined };
    });
    // What cannot be told apart may be the index that is asked for.
    const isOther =
      selection.columnFamily !== undefined && columnFamily !== undefined && columnFamily !== selection.columnFamily;
    if (isOther) continue;
    findings.files++;
    findings.bytes += size;
    const index = columnFamily === undefined ? undefined : selection.indexOf(columnFamily);
    // RocksDB says where it read the file, which may be a checkpoint that is gone soon.
    const problem = damage?.replaceAll(`${directory}/`, "");
    if (problem !== undefined) findings.add(`The file "${file}" is damaged: ${problem}`, { file, index });
  }
}

/**
 * Reads every file of a data directory that cannot be opened: RocksDB names the file that it was reading then, often the one
 * that lists the damaged one. `opening` is why, and is told last.
 */
export async function verifyUnopened(data: string, opening: QuiverError): Promise<Verification> {
  const findings = new Findings(new AbortController().signal);
  await verifyTables(data, { columnFamily: undefined, indexOf: () => undefined }, findings);
  await verifyCurrent(data, findings);
  await verifyAcknowledged(data, findings);
  const log = await findLogDamage(data);
  if (log && !log.isTornWrite) findings.add(`The file "${log.file}" is damaged in its middle`, { file: log.file });
  for (const columnFamily of await namesIn(join(data, GRAPHS))) {
    await verifySaved(() => checkSavedGraphs(data, columnFamily), findings);
  }
  findings.add(opening);
  return findings.at(0);
}

/** Compares the checksums in the file of the high-water mark. */
export async function verifyAcknowledged(data: string, findings: Findings): Promise<void> {
  findings.files++;
  // It may be written to while it is read.
  const damage = (await findDamage(data)) && (await findDamage(data));
  if (damage !== undefined) findings.add(damage, { file: ACKNOWLEDGED });
}

/** Compares the checksums in the manifest of a checkpoint; false when they are wrong. */
export async function verifyManifest(checkpoint: string, findings: Findings): Promise<boolean> {
  const names = (await readdir(checkpoint)).filter((name) => name.startsWith("MANIFEST-"));
  for (const file of names) {
    if (isWholeManifest(await readFile(join(checkpoint, file)))) continue;
    findings.add(`The file "${file}" is damaged: its checksums are wrong`, { file });
    return false;
  }
  return true;
}

/** Compares the file that names the manifest with what it must be; RocksDB reads it only when it opens. */
export async function verifyCurrent(data: string, findings: Findings): Promise<void> {
  const problem = async () => {
    const content = await readFile(join(data, CURRENT), "latin1").catch(() => undefined);
    if (content === undefined) return `The file "${CURRENT}" cannot be read`;
    const [, manifest] = /^(MANIFEST-\d{6,})\n$/.exec(content) ?? [];
    if (manifest === undefined) return `The file "${CURRENT}" is damaged: it names no manifest`;
    const exists = await stat(join(data, manifest)).then(
      () => true,
      () => false,
    );
    return exists ? undefined : `The file "${manifest}", which "${CURRENT}" names, is missing`;
  };
  findings.files++;
  // A new manifest may take the place of the old one between the two looks.
  const found = (await problem()) && (await problem());
  if (found !== undefined) findings.add(found, { file: CURRENT });
}
