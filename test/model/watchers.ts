import assert from "node:assert/strict";
import type { Vector } from "../../gen/quiver/v1/resources_pb.ts";
import type { Clients } from "../support/protocols.ts";
import { until } from "../support/until.ts";
import { assertVectors } from "./compare.ts";
import { compareKeys, type Model, type Place } from "./model.ts";
import { reasonOf } from "./operation.ts";

const DEADLINE_MS = 30_000;

/** Watches namespaces, resumes after restarts, and keeps what the changes add up to. */
export class Watchers {
  readonly #watches = new Map<string, Watch>();
  #clients: Clients;

  constructor(clients: Clients) {
    this.#clients = clients;
  }

  /** Begins with the next write of a namespace that is empty. */
  async open(place: Place, clients: Clients): Promise<void> {
    const where = { vectorBucketName: place.bucket, indexName: place.index, namespace: place.namespace };
    const { lsn } = await clients.vectors.listVectors({ ...where, maxResults: 1 });
    const watch = new Watch(place, lsn + 1n);
    this.#watches.set(JSON.stringify(place), watch);
    watch.start(this.#clients);
  }

  /** Ends the watches of an index. */
  close({ bucket, index }: Pick<Place, "bucket" | "index">): void {
    for (const [name, watch] of this.#watches) {
      if (watch.place.bucket !== bucket || watch.place.index !== index) continue;
      this.#watches.delete(name);
      watch.stop();
    }
  }

  /** Resumes every watch with a server that has started again. */
  resume(clients: Clients): void {
    this.#clients = clients;
    for (const watch of this.#watches.values()) {
      watch.stop();
      watch.start(clients);
    }
  }

  stop(): void {
    for (const watch of this.#watches.values()) watch.stop();
  }

  /** Waits until every watch has seen the last write, then compares what it has seen with the model. */
  async assertSettled(model: Model): Promise<number> {
    for (const watch of this.#watches.values()) await watch.assertSettled(model);
    return this.#watches.size;
  }
}

class Watch {
  readonly place: Place;
  readonly #vectors = new Map<string, Vector>();
  /** The first write that was not seen whole. */
  #next: bigint;
  #abort = new AbortController();
  #failure: unknown;

  constructor(place: Place, fromLsn: bigint) {
    this.place = place;
    this.#next = fromLsn;
  }

  start(clients: Clients): void {
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    this.#read(clients, signal).catch((error: unknown) => {
      if (signal.aborted) return;
      const reason = reasonOf(error);
      if (error instanceof assert.AssertionError || (reason && reason !== "SHUTTING_DOWN")) this.#failure = error;
    });
  }

  /** Does not wait: clients of a server that was killed may keep a stream waiting after it was aborted. */
  stop(): void {
    this.#abort.abort();
  }

  async #read(clients: Clients, signal: AbortSignal): Promise<void> {
    const { bucket, index, namespace } = this.place;
    const where = { vectorBucketName: bucket, indexName: index, namespace };
    const request = { ...where, fromLsn: this.#next, returnData: true, returnMetadata: true };
    let last = this.#next;
    for await (const { lsn, change } of clients.vectors.watchVectors(request, { signal })) {
      if (signal.aborted) return;
      assert.ok(change === undefined ? lsn >= this.#next - 1n : lsn >= last, `change of ${lsn} after ${last}`);
      if (change === undefined) {
        this.#next = lsn + 1n;
        last = this.#next;
        continue;
      }
      last = lsn;
      if (change.change.case === "put") this.#vectors.set(change.change.value.key, change.change.value);
      else this.#vectors.delete(change.change.value ?? "");
    }
  }

  async assertSettled(model: Model): Promise<void> {
    const partition = model.findPartition(this.place);
    assert.ok(partition, `${JSON.stringify(this.place)} is watched but not there`);
    const deadline = Date.now() + DEADLINE_MS;
    await until(() => this.#next > partition.lsn || this.#failure !== undefined || Date.now() > deadline);
    if (this.#failure !== undefined) throw this.#failure;
    const where = `the watch of ${JSON.stringify(this.place)}`;
    assert.ok(this.#next > partition.lsn, `${where} came to ${this.#next} only, the last write is ${partition.lsn}`);
    const seen = [...this.#vectors.values()].sort((a, b) => compareKeys(a.key, b.key));
    assertVectors(seen, partition.sorted(), { returnData: true, returnMetadata: true });
  }
}
