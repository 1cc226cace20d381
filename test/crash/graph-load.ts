import assert from "node:assert/strict";
import { Code, ConnectError } from "@connectrpc/connect";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import type { Clients } from "../support/protocols.ts";
import { until } from "../support/until.ts";

/** The smallest that has a graph is 5,000 vectors. */
const BATCHES = 6;
const BATCH = 1_000;
const DIMENSION = 4;

const INDEX = { vectorBucketName: "graphs", indexName: "i" } as const;
const PLACE = { ...INDEX, namespace: "n" } as const;

/** A namespace that is large enough for a graph, which is put whole again and again; every batch knows what it holds. */
export class GraphLoad {
  /** What each batch may hold: a round, or 0 for nothing. More than one after an outcome that was not seen. */
  #rounds: number[][] = Array.from({ length: BATCHES }, () => [0]);
  #round = 0;

  async prepare(clients: Clients): Promise<void> {
    await clients.buckets.createVectorBucket({ vectorBucketName: INDEX.vectorBucketName });
    const distanceMetric = DistanceMetric.EUCLIDEAN;
    await clients.indexes.createIndex({ ...INDEX, dataType: DataType.FLOAT32, dimension: DIMENSION, distanceMetric });
  }

  /** Puts all batches. Resolves to false when the server was lost meanwhile. */
  async put(clients: Clients): Promise<boolean> {
    const round = ++this.#round;
    for (let batch = 0; batch < BATCHES; batch++) {
      const vectors = Array.from({ length: BATCH }, (_, i) => ({
        key: `${batch}-${i}`,
        data: dataOf(round, batch, i),
      }));
      const isSeen = await isAnswered(clients.vectors.putVectors({ ...PLACE, vectors }));
      if (!isSeen) this.#rounds[batch]?.push(round);
      if (!isSeen) return false;
      this.#rounds[batch] = [round];
    }
    return true;
  }

  /** Waits until the graph holds every vector. */
  async built(clients: Clients): Promise<void> {
    await until(async () => (await clients.indexes.getIndexStats(INDEX)).unindexedVectors === 0n);
  }

  async drop(clients: Clients): Promise<void> {
    const isSeen = await isAnswered(clients.namespaces.deleteNamespace(PLACE));
    this.#rounds = this.#rounds.map((rounds) => (isSeen ? [0] : [...rounds, 0]));
  }

  /** Rejects unless every batch is whole, and as it was put last; then that is what it knows. */
  async compare(clients: Clients): Promise<void> {
    const found = Array.from({ length: BATCHES }, () => [] as number[]);
    for await (const { key, data } of listed(clients)) {
      const [batch = 0, i = 0] = key.split("-").map(Number);
      const [round = 0] = data;
      assert.deepEqual(data, dataOf(round, batch, i).float32, `phantom: "${key}"`);
      found[batch]?.push(round);
    }
    for (const [batch, rounds] of found.entries()) {
      const [round = 0] = rounds;
      assert.ok(
        this.#rounds[batch]?.includes(round),
        `lost: batch ${batch} is of ${round}, not ${this.#rounds[batch]}`,
      );
      const isWhole = rounds.every((each) => each === round) && (rounds.length === BATCH || rounds.length === 0);
      assert.ok(isWhole, `partial batch: ${rounds.length} of batch ${batch}`);
      this.#rounds[batch] = [round];
    }
    if (found[0]?.length === 0) return;
    const queryVector = { float32: dataOf(1, 0, 500).float32 };
    const { vectors } = await clients.vectors.queryVectors({ ...PLACE, queryVector, topK: 20, returnData: true });
    assert.equal(vectors.length, 20);
    for (const { key, data } of vectors) {
      const [batch = 0, i = 0] = key.split("-").map(Number);
      assert.deepEqual(data?.float32, dataOf(found[batch]?.[0] ?? 0, batch, i).float32, `an answer with "${key}"`);
    }
  }
}

function dataOf(round: number, batch: number, i: number) {
  return { float32: [round, batch, i % 37, i] };
}

async function* listed(clients: Clients): AsyncGenerator<{ key: string; data: number[] }> {
  let nextToken = "";
  try {
    do {
      const page = await clients.vectors.listVectors({ ...PLACE, maxResults: BATCH, returnData: true, nextToken });
      for (const { key, data } of page.vectors) yield { key, data: data?.float32 ?? [] };
      nextToken = page.nextToken;
    } while (nextToken !== "");
  } catch (error) {
    if (ConnectError.from(error).code !== Code.NotFound) throw error;
  }
}

async function isAnswered(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    const { code } = ConnectError.from(error);
    // Deleted already, so that to delete it again changes nothing.
    if (code === Code.NotFound) return true;
    return false;
  }
}
