import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import { QuiverError } from "../../../errors.ts";

/** Bytes that are read, hashed and written at once: hashing them holds the event loop for about a millisecond. */
const CHUNK_BYTES = 1024 * 1024;

/** What tells whether a file is the one that was written. */
export interface FileSum {
  /** Bytes. */
  readonly size: number;
  /** SHA-256 in hexadecimal. */
  readonly sha256: string;
}

/** Copies a file to a new one, fsynced, and sums it up. Fails with the signal's reason once that is aborted. */
export async function copyFile(from: string, to: string, signal?: AbortSignal): Promise<FileSum> {
  await using source = await open(from, constants.O_RDONLY);
  await using target = await open(to, "wx");
  const sum = await readThrough(source, signal, (chunk) => writeAll(target, chunk));
  await target.sync();
  return sum;
}

/** Sums a file up. Fails with the signal's reason once that is aborted. */
export async function sumFile(path: string, signal?: AbortSignal): Promise<FileSum> {
  await using file = await open(path, constants.O_RDONLY);
  return await readThrough(file, signal, async () => {});
}

/** Writes a new file, fsynced. */
export async function writeNewFile(path: string, content: string): Promise<void> {
  await using file = await open(path, "wx");
  await file.writeFile(content);
  await file.sync();
}

/** Removes a file or a directory with all that is in it, if it is there. */
export async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

/** What a failure to do something with files means to the caller; `doing` completes "Cannot ...". */
export function fileFailed(error: unknown, doing: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  // What is no error of the system is one of our own, or the reason of a signal.
  if (typeof code !== "string" || !/^E[A-Z]/.test(code)) return error;
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return new QuiverError("DISK_FULL", `Cannot ${doing}: the disk is full`, { cause: error });
    case "EIO":
      return new QuiverError("CORRUPTION", `Cannot ${doing}: the disk fails (${message})`, { cause: error });
    default:
      return new QuiverError("INTERNAL", `Cannot ${doing}: ${message}`, { cause: error });
  }
}

async function readThrough(
  file: FileHandle,
  signal: AbortSignal | undefined,
  use: (chunk: Uint8Array) => Promise<void>,
): Promise<FileSum> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let size = 0; ; ) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
    if (bytesRead === 0) return { size, sha256: hash.digest("hex") };
    const chunk = buffer.subarray(0, bytesRead);
    hash.update(chunk);
    await use(chunk);
    size += bytesRead;
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at, chunk.length - at)).bytesWritten;
}
