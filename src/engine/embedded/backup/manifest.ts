import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { QuiverError } from "../../../errors.ts";
import { FORMAT_VERSION } from "../layout.ts";
import type { FileSum } from "./files.ts";

/**
 * What a backup is, and what is in it. A backup is a directory:
 *
 *     <id>/manifest.json   the manifest as JSON, and last in it the SHA-256 of the JSON without that
 *     <id>/data/<name>     each file that the manifest lists: a data directory when taken together
 */
export interface Manifest {
  /** The layout of the backup itself. */
  readonly backupFormat: number;
  readonly id: string;
  readonly displayName: string;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  /** The sequence number of the last write in it. */
  readonly lsn: number;
  /** The layout of the stored data, FORMAT_VERSION of the release that made it. */
  readonly formatVersion: number;
  readonly files: readonly ManifestFile[];
}

export interface ManifestFile extends FileSum {
  readonly name: string;
}

export const BACKUP_FORMAT = 1;
export const MANIFEST = "manifest.json";
export const DATA = "data";

const FILE_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;
const SHA256 = /^[0-9a-f]{64}$/;

/** The text of a manifest's file. */
export function renderManifest({
  backupFormat,
  id,
  displayName,
  createdAt,
  lsn,
  formatVersion,
  files,
}: Manifest): string {
  const listed = files.map(({ name, size, sha256 }) => ({ name, size, sha256 }));
  const content = { backupFormat, id, displayName, createdAt, lsn, formatVersion, files: listed };
  const sha256 = createHash("sha256").update(JSON.stringify(content)).digest("hex");
  return `${JSON.stringify({ ...content, sha256 }, null, 1)}\n`;
}

/** Reads the manifest of a backup; CORRUPTION when it is damaged or absent, or of a release newer than this one. */
export async function readManifest(backup: string): Promise<Manifest> {
  const path = join(backup, MANIFEST);
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new QuiverError("CORRUPTION", `"${backup}" is no backup: cannot read "${MANIFEST}"`, { cause });
  });
  const manifest = parse(bytes.toString("utf8"));
  // Written by this very function, so every byte is known: whatever changed one shows.
  if (!manifest || Buffer.compare(Buffer.from(renderManifest(manifest)), bytes) !== 0) {
    throw new QuiverError("CORRUPTION", `The file "${path}" is damaged: its checksum does not match`);
  }
  if (manifest.formatVersion > FORMAT_VERSION) {
    throw new QuiverError(
      "CORRUPTION",
      `The backup "${backup}" has format version ${manifest.formatVersion}, this release reads up to ${FORMAT_VERSION}; use the release that made it`,
    );
  }
  return manifest;
}

/** Bytes of all files. */
export function bytesOf(files: readonly FileSum[]): number {
  return files.reduce((total, { size }) => total + size, 0);
}

function parse(text: string): Manifest | undefined {
  let content: Partial<Manifest> | null;
  try {
    content = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof content !== "object" || content === null) return undefined;
  const { backupFormat, id, displayName, createdAt, lsn, formatVersion, files } = content;
  if (Number.isInteger(backupFormat) && (backupFormat as number) > BACKUP_FORMAT) {
    throw new QuiverError(
      "CORRUPTION",
      `The backup has layout ${backupFormat}, this release reads up to ${BACKUP_FORMAT}; use the release that made it`,
    );
  }
  const numbers = [backupFormat, createdAt, lsn, formatVersion];
  if (!numbers.every(Number.isSafeInteger) || typeof id !== "string" || typeof displayName !== "string")
    return undefined;
  if (!Array.isArray(files) || !files.every(isFile)) return undefined;
  return content as Manifest;
}

function isFile(file: unknown): file is ManifestFile {
  const { name, size, sha256 } = (file ?? {}) as Partial<ManifestFile>;
  return (
    typeof name === "string" &&
    FILE_NAME.test(name) &&
    Number.isSafeInteger(size) &&
    typeof sha256 === "string" &&
    SHA256.test(sha256)
  );
}
