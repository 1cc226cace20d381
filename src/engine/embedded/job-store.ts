import { ABSENT } from "../../../native/rocksdb.ts";
import type { WriteBatch } from "../../../native/write-batch.ts";
import { QuiverError } from "../../errors.ts";
import type { JobRecord, JobStore } from "../engine.ts";
import { endOfPrefix, JOB_KIND, JOB_PART_KIND, json, storeKey, utf8, valueAt } from "./layout.ts";
import { scanRange } from "./scan.ts";
import { CATALOG, readFailed, type Store } from "./storage/store.ts";

/** The records and parts of jobs in the default column family. */
export class EmbeddedJobStore implements JobStore {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  async load(): Promise<JobRecord[]> {
    const range = { columnFamily: CATALOG, from: Uint8Array.of(JOB_KIND), to: Uint8Array.of(JOB_KIND + 1) };
    const jobs: JobRecord[] = [];
    try {
      for await (const chunk of scanRange(this.#store.database, range)) {
        for (let i = 0; i < chunk.entries.length / 4; i++) jobs.push(json(valueAt(chunk, i)) as JobRecord);
      }
    } catch (error) {
      throw readFailed(error);
    }
    return jobs;
  }

  async create(job: JobRecord, parts: readonly Uint8Array[]): Promise<void> {
    await this.#store.commit("grow", (batch) => {
      putJobRecord(batch, job);
      for (const [part, bytes] of parts.entries()) batch.put(CATALOG, partKey(job.jobId, part), bytes);
    });
  }

  async put(job: JobRecord, { withoutParts }: { readonly withoutParts: boolean }): Promise<void> {
    await this.#store.commit(withoutParts ? "shrink" : "grow", (batch) => {
      putJobRecord(batch, job);
      if (withoutParts) deleteParts(batch, job.jobId);
    });
  }

  async readPart(jobId: string, part: number): Promise<Uint8Array> {
    const found = await this.#store.database.multiGet(CATALOG, [partKey(jobId, part)]).catch((error: unknown) => {
      throw readFailed(error);
    });
    if (found.entries[2] === ABSENT) throw new QuiverError("CORRUPTION", `Job "${jobId}" has lost its part ${part}`);
    return valueAt(found, 0);
  }

  async delete(jobIds: readonly string[]): Promise<void> {
    await this.#store.commit("shrink", (batch) => {
      for (const jobId of jobIds) {
        batch.delete(CATALOG, storeKey(JOB_KIND, jobId));
        deleteParts(batch, jobId);
      }
    });
  }
}

/** Adds a job's record to the batch of the write that it counts: after a crash there are both or none. */
export function putJobRecord(batch: WriteBatch, job: JobRecord): void {
  batch.put(CATALOG, storeKey(JOB_KIND, job.jobId), utf8(JSON.stringify(job)));
}

function deleteParts(batch: WriteBatch, jobId: string): void {
  const from = storeKey(JOB_PART_KIND, jobId, "");
  batch.deleteRange(CATALOG, from, endOfPrefix(from));
}

function partKey(jobId: string, part: number): Uint8Array<ArrayBuffer> {
  const prefix = storeKey(JOB_PART_KIND, jobId, "");
  const key = new Uint8Array(prefix.length + 4);
  key.set(prefix);
  new DataView(key.buffer).setUint32(prefix.length, part);
  return key;
}
