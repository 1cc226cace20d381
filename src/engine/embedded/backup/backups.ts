import { mkdir, readdir, rename, stat, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { checkTable } from "../../../../native/rocksdb.ts";
import { QuiverError, shuttingDown } from "../../../errors.ts";
import { failpoint } from "../../../failpoints.ts";
import { OneAtATime } from "../../../one-at-a-time.ts";
import type { Backup, Page, PageOptions } from "../../engine.ts";
import { makeDirectory, syncDirectory } from "../storage/directory.ts";
import { damaged, type Store } from "../storage/store.ts";
import { removeCheckpoints, withCheckpoint } from "./checkpoint.ts";
import { copyFile, fileFailed, remove, sumFile, writeNewFile } from "./files.ts";
import { readHeaderOf } from "./header.ts";
import {
  BACKUP_FORMAT,
  bytesOf,
  DATA,
  MANIFEST,
  type Manifest,
  type ManifestFile,
  readManifest,
  renderManifest,
} from "./manifest.ts";
import { UNFINISHED } from "./restore.ts";

export interface BackupsOptions {
  readonly store: Store;
  /** The data directory. */
  readonly data: string;
  /** The directory of the backups; made when it does not exist, but its parent must. */
  readonly directory: string;
}

const ID = /^\d{8}T\d{9}Z$/;
const LEFT_OVER = /^\d{8}T\d{9}Z\.tmp$/;

/** What RocksDB leaves in a directory for people and for itself while it is open. */
const NOT_DATA = /^(LOCK|LOG(\.old.*)?)$/;

/** Bytes that stay free on a disk of its own. */
const SLACK_BYTES = 16 * 1024 * 1024;

/** The backups of a store: directories in one directory, each complete or with a name that ends with ".tmp". */
export class Backups {
  readonly #options: BackupsOptions;
  readonly #turns = new OneAtATime();
  readonly #closing = new AbortController();

  constructor(options: BackupsOptions) {
    this.#options = options;
  }

  /** Removes what a crash left in the middle of a backup, or at the very end of a restore. */
  async removeLeftOvers(): Promise<void> {
    await removeCheckpoints(this.#options.data);
    await remove(join(this.#options.data, UNFINISHED));
    await this.#removeUnfinished();
  }

  /** One after the other: each holds all that was acknowledged before its call. */
  create({ displayName, signal }: { readonly displayName: string; readonly signal: AbortSignal }): Promise<Backup> {
    const either = AbortSignal.any([signal, this.#closing.signal]);
    return this.#turns
      .run(() => this.#create(displayName, either))
      .catch((error: unknown) => {
        throw fileFailed(error, "make a backup");
      });
  }

  async list({ prefix, after, maxResults }: PageOptions): Promise<Page<Backup>> {
    const names = await this.#names(ID);
    const ids = names.filter((id) => id.startsWith(prefix) && (after === undefined || id > after)).sort();
    const items: Backup[] = [];
    for (const id of ids.slice(0, maxResults)) {
      const path = join(this.#options.directory, id);
      items.push(toBackup(path, await readManifest(path)));
    }
    return { items, more: ids.length > items.length };
  }

  /** Ends the backup under way, which leaves nothing. */
  async close(): Promise<void> {
    this.#closing.abort(shuttingDown());
    await this.#turns.idle();
  }

  async #create(displayName: string, signal: AbortSignal): Promise<Backup> {
    signal.throwIfAborted();
    const { store, data, directory } = this.#options;
    store.assertWritable();
    await makeDirectory(directory);
    await this.#removeUnfinished();
    const id = nextId(await this.#names(ID));
    const path = join(directory, id);
    const unfinished = `${path}.tmp`;
    try {
      const acknowledged = store.lsn;
      const manifest = await withCheckpoint(store.database, data, {
        purpose: "backup",
        use: async (checkpoint) => {
          failpoint("after-checkpoint");
          const { lsn, formatVersion } = await readHeaderOf(checkpoint);
          if (lsn < acknowledged) {
            throw new QuiverError(
              "CORRUPTION",
              `The store holds writes up to ${lsn}, acknowledged are ${acknowledged}`,
            );
          }
          const files = await this.#copy(checkpoint, unfinished, signal);
          failpoint("after-copy");
          return { backupFormat: BACKUP_FORMAT, id, displayName, createdAt: Date.now(), lsn, formatVersion, files };
        },
      });
      await writeNewFile(join(unfinished, MANIFEST), renderManifest(manifest));
      await syncDirectory(unfinished);
      failpoint("before-rename-backup");
      signal.throwIfAborted();
      await rename(unfinished, path);
      failpoint("after-rename-backup");
      await syncDirectory(directory);
      return toBackup(path, manifest);
    } catch (error) {
      await remove(unfinished);
      throw error;
    }
  }

  /** Copies, never links: a link shares its blocks with the file of the store, so damage would hit both. */
  async #copy(checkpoint: string, to: string, signal: AbortSignal): Promise<ManifestFile[]> {
    const names = (await readdir(checkpoint)).filter((name) => !NOT_DATA.test(name)).sort();
    const sizes = await Promise.all(names.map((name) => stat(join(checkpoint, name))));
    await this.#assertRoom(bytesOf(sizes.map(({ size }) => ({ size, sha256: "" }))));
    await mkdir(join(to, DATA), { recursive: true });
    const files: ManifestFile[] = [];
    for (const name of names) {
      const copied = join(to, DATA, name);
      const written = await copyFile(join(checkpoint, name), copied, signal);
      const read = await sumFile(copied, signal);
      if (read.sha256 !== written.sha256) {
        throw new QuiverError(
          "CORRUPTION",
          `The file "${copied}" is not read back as it was written: the disk is failing`,
        );
      }
      await assertWhole(copied);
      files.push({ name, ...written });
      failpoint("after-copy-file");
    }
    await syncDirectory(join(to, DATA));
    return files;
  }

  /** Checkpoints stay: a verification may be reading its own. */
  async #removeUnfinished(): Promise<void> {
    for (const name of await this.#names(LEFT_OVER)) await remove(join(this.#options.directory, name));
  }

  async #assertRoom(bytes: number): Promise<void> {
    const { store, data, directory } = this.#options;
    const [{ dev: disk }, { dev: dataDisk }, { bavail, bsize }] = await Promise.all([
      stat(directory),
      stat(data),
      statfs(directory),
    ]);
    const kept = disk === dataDisk ? store.disk.reserve : SLACK_BYTES;
    const free = bavail * bsize;
    if (free >= bytes + kept) return;
    throw new QuiverError(
      "DISK_FULL",
      `Cannot make a backup of ${bytes} bytes in "${directory}": ${free} bytes are free there, of which ${kept} stay free`,
      { metadata: { free: `${free}`, needed: `${bytes + kept}` } },
    );
  }

  async #names(pattern: RegExp): Promise<string[]> {
    try {
      return (await readdir(this.#options.directory)).filter((name) => pattern.test(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw fileFailed(error, "read the directory of the backups");
    }
  }
}

/** What is damaged in the store is not carried into a backup, which may be the last good one. */
async function assertWhole(path: string): Promise<void> {
  if (!path.endsWith(".sst")) return;
  const { damage } = await checkTable(path);
  if (damage === undefined) return;
  // Its copy goes with the backup that is not made.
  const problem = damage.replaceAll(`${dirname(path)}/`, "");
  throw damaged(`Cannot make a backup: the file "${basename(path)}" of the store is damaged: ${problem}`);
}

function toBackup(path: string, { id, displayName, createdAt, lsn, formatVersion, files }: Manifest): Backup {
  return { id, displayName, createdAt, lsn, bytes: bytesOf(files), path, formatVersion };
}

/** The time in UTC, to the millisecond; later than every backup that is there, whatever the clock says. */
function nextId(ids: readonly string[]): string {
  const last = ids.reduce((latest, id) => Math.max(latest, timeOf(id)), 0);
  return new Date(Math.max(Date.now(), last + 1)).toISOString().replace(/[-:.]/g, "");
}

function timeOf(id: string): number {
  return Date.parse(id.replace(/^(....)(..)(..T..)(..)(..)(...Z)$/, "$1-$2-$3:$4:$5.$6")) || 0;
}
