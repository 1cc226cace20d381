import assert from "node:assert/strict";
import { existsSync, rmSync, statfsSync } from "node:fs";
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { HELD } from "../../src/engine/embedded/storage/held-reserve.ts";
import type { Clients } from "../support/protocols.ts";

/** Few large vectors: reading them all again costs little, and no graph has to be built. */
const DIMENSION = 2_048;
const BATCH = 12;
const SCRAP_VECTORS = 2_700;

/** No disk but one for tests is as small as this. */
const SMALL_BYTES = 1024 ** 3;

/** Within this time there must be room again, once something has given it back. */
export const BACK_MS_MAX = 10_000;

/** A call that takes longer hangs. */
const CALL = { timeoutMs: 30_000 };

const KEPT = { vectorBucketName: "b", indexName: "kept" };
const SCRAP = { vectorBucketName: "b", indexName: "scrap" };

/** A client that puts until it is refused, and knows what the server must hold. */
export class Filler {
  /** Numbers of the keys that are stored for certain, and of those that certainly are not. */
  readonly stored = new Set<number>();
  readonly absent = new Set<number>();
  /** What the last refusal said. */
  refusal = "";
  #next = 0;

  async prepare({ buckets, indexes }: Clients): Promise<void> {
    await buckets.createVectorBucket({ vectorBucketName: "b" });
    const settings = { dataType: DataType.FLOAT32, dimension: DIMENSION, distanceMetric: DistanceMetric.EUCLIDEAN };
    for (const index of [KEPT, SCRAP]) await indexes.createIndex({ ...index, ...settings });
  }

  /** One batch. Rejects with anything that is no refusal for the disk. */
  async put({ vectors }: Clients): Promise<"stored" | "refused"> {
    const numbers = Array.from({ length: BATCH }, () => this.#next++);
    const batch = numbers.map((number) => ({ key: `${number}`, data: { float32: [...vectorOf(number)] } }));
    try {
      await vectors.putVectors({ ...KEPT, vectors: batch }, CALL);
    } catch (error) {
      this.refusal = assertRefused(error);
      for (const number of numbers) this.absent.add(number);
      return "refused";
    }
    for (const number of numbers) this.stored.add(number);
    return "stored";
  }

  /** Clients side by side put until each is refused, or until `isDone`. */
  async fill(clients: Clients, { isDone = () => false }: { isDone?: () => boolean } = {}): Promise<void> {
    const writer = async () => {
      while (!isDone() && (await this.put(clients)) === "stored");
    };
    await Promise.all([writer(), writer(), writer(), writer()]);
  }

  /** What can be dropped later. */
  async putScrap({ vectors }: Clients): Promise<void> {
    for (let first = 0; first < SCRAP_VECTORS; first += BATCH) {
      const batch = Array.from({ length: BATCH }, (_, i) => ({
        key: `${first + i}`,
        data: { float32: [...vectorOf(first + i)] },
      }));
      // A store that is behind with its tables holds the same bytes twice, until its log is dropped.
      const put = async () => void (await vectors.putVectors({ ...SCRAP, vectors: batch }, CALL));
      await timeUntil(put, BACK_MS_MAX);
    }
  }

  async dropScrap({ indexes }: Clients): Promise<void> {
    await indexes.deleteIndex(SCRAP, CALL);
  }

  /** Deletes some; resolves to how many. Rejects with whatever refuses it. */
  async deleteSome({ vectors }: Clients): Promise<void> {
    const numbers = [...this.stored].slice(0, BATCH);
    await vectors.deleteVectors({ ...KEPT, keys: numbers.map((number) => `${number}`) }, CALL);
    for (const number of numbers) {
      this.stored.delete(number);
      this.absent.add(number);
    }
  }

  /** Rejects unless the server holds exactly what it must: every value of what is stored, and no more. */
  async compare({ vectors }: Clients): Promise<void> {
    const found = new Set<number>();
    let nextToken = "";
    do {
      const page = await vectors.listVectors({ ...KEPT, returnData: true, maxResults: 500, nextToken }, CALL);
      for (const { key, data } of page.vectors) {
        const number = Number(key);
        assert.ok(this.stored.has(number), `${this.absent.has(number) ? "refused or deleted" : "unknown"} key ${key}`);
        const isRight = vectorOf(number).every((value, i) => value === data?.float32[i]);
        assert.ok(isRight && data?.float32.length === DIMENSION, `the values of key ${key}`);
        found.add(number);
      }
      nextToken = page.nextToken;
    } while (nextToken !== "");
    assert.equal(found.size, this.stored.size, "acknowledged keys are lost");
    const number = this.stored.values().next().value as number;
    const queryVector = { float32: [...vectorOf(number)] };
    const answer = await vectors.queryVectors(
      { ...KEPT, queryVector, topK: 1, search: { mode: { case: "exact", value: true } } },
      CALL,
    );
    assert.deepEqual(
      answer.vectors.map(({ key }) => key),
      [`${number}`],
    );
  }
}

/** Asserts that this is a refusal for the disk, with all that belongs to it; returns its message. */
function assertRefused(thrown: unknown): string {
  const error = ConnectError.from(thrown);
  const [info] = error.findDetails(ErrorInfoSchema);
  assert.deepEqual([Code[error.code], info?.reason], ["ResourceExhausted", "DISK_FULL"], error.message);
  assert.ok(Number(info?.metadata.free) < Number(info?.metadata.reserve), JSON.stringify(info?.metadata));
  assert.ok((error.findDetails(RetryInfoSchema)[0]?.retryDelay?.seconds ?? 0n) > 0n, "RetryInfo is missing");
  return error.message;
}

/** All at once would now and then have all for a moment and then nothing, while the server gives back what it has held. */
const PIECE_BYTES = 1024 ** 2;

/** A file that is not the server's, which takes all that is free on a disk. */
export class ForeignFile {
  readonly #disk: string;

  constructor(disk: string) {
    this.#disk = disk;
  }

  /** All but what the server of this data directory has held for the end, and gives back then. */
  async takeAll(data: string): Promise<void> {
    const { blocks, bsize } = statfsSync(this.#disk);
    assert.ok(blocks * bsize <= SMALL_BYTES, `${this.#disk} is not mounted: this would fill another disk`);
    const isHeld = () => existsSync(join(data, HELD));
    let wasHeld = isHeld();
    while (freeOf(this.#disk) > 0 && (isHeld() || !wasHeld)) {
      wasHeld ||= isHeld();
      const piece = Buffer.alloc(Math.min(PIECE_BYTES, freeOf(this.#disk)));
      // Cut short when the server has taken some of it meanwhile.
      await appendFile(join(this.#disk, "foreign"), piece).catch(() => {});
    }
  }

  remove(): void {
    rmSync(join(this.#disk, "foreign"), { force: true });
  }
}

function freeOf(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

/** Resolves to the milliseconds until `attempt` succeeds; rejects after `withinMs`, with its last error. */
export async function timeUntil(attempt: () => Promise<void>, withinMs: number): Promise<number> {
  const started = performance.now();
  for (;;) {
    const error = await attempt().then(
      () => undefined,
      (thrown: unknown) => thrown as Error,
    );
    const elapsed = performance.now() - started;
    if (!error) return elapsed;
    if (elapsed > withinMs) throw error;
    await setTimeout(50);
  }
}

function vectorOf(number: number): Float32Array {
  return Float32Array.from({ length: DIMENSION }, (_, i) => Math.sin(number * 7919 + i));
}
