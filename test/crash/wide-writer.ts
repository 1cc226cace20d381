import assert from "node:assert/strict";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { reasonOf } from "../model/operation.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";

const DIMENSION = 1024;
const PLACE = { vectorBucketName: "wide", indexName: "wide" };

/** A call that takes longer hangs. */
const CALL_MS_MAX = 60_000;

/**
 * Overwrites the same vectors again and again, in calls of many bytes: they fill tables, and a power cut can tear them.
 * Every value of a call is its number, so that a mixture of two calls is seen.
 */
export class WideWriter {
  /** 4 KiB each. */
  readonly #vectors: number;
  #sent = 0;
  #acknowledged = 0;

  constructor(vectors: number) {
    this.#vectors = vectors;
  }

  /** Creates its index. */
  async prepare(url: string): Promise<void> {
    const { buckets, indexes } = connect(url);
    await buckets.createVectorBucket({ vectorBucketName: PLACE.vectorBucketName });
    await indexes.createIndex({
      ...PLACE,
      dataType: DataType.FLOAT32,
      dimension: DIMENSION,
      distanceMetric: DistanceMetric.EUCLIDEAN,
    });
  }

  /** Writes until one fails or `isDone`; resolves to the reason of the failure, "connection" where the server was gone. */
  async run(url: string, isDone: () => boolean = () => false): Promise<string | undefined> {
    const clients = connect(url);
    while (!isDone()) {
      const number = ++this.#sent;
      const reason = await put(clients, keysOf(this.#vectors), number);
      if (reason) return reason;
      this.#acknowledged = number;
    }
    return undefined;
  }

  /** Rejects unless all vectors are of one call: the last that was acknowledged, or a later one. */
  async check(url: string): Promise<void> {
    const request = { ...PLACE, keys: keysOf(this.#vectors), returnData: true };
    const { vectors } = await connect(url).vectors.getVectors(request);
    if (this.#acknowledged > 0) assert.equal(vectors.length, this.#vectors, "lost: vectors of the wide writer");
    const numbers = new Set(vectors.flatMap(({ data }) => data?.float32 ?? []));
    assert.ok(numbers.size <= 1, `the wide writer finds a mixture of its calls: ${[...numbers].slice(0, 10)}`);
    for (const number of numbers) {
      assert.ok(number >= this.#acknowledged, `lost: call ${this.#acknowledged}, ${number} is there`);
      assert.ok(number <= this.#sent, `phantom: call ${number}`);
    }
  }
}

/** Writes one small vector beside the others; resolves to the reason when that fails. */
export function probe(url: string): Promise<string | undefined> {
  return put(connect(url), ["probe"], 1);
}

function keysOf(vectors: number): string[] {
  return Array.from({ length: vectors }, (_, i) => `${i}`);
}

async function put(clients: Clients, keys: readonly string[], value: number): Promise<string | undefined> {
  const float32 = Array<number>(DIMENSION).fill(value);
  const vectors = keys.map((key) => ({ key, data: { float32 } }));
  try {
    await clients.vectors.putVectors({ ...PLACE, vectors }, { timeoutMs: CALL_MS_MAX });
    return undefined;
  } catch (error) {
    return reasonOf(error) ?? "connection";
  }
}

function connect(url: string): Clients {
  return createClients((PROTOCOLS.gRPC as (typeof PROTOCOLS)[string])(url));
}
