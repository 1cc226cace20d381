import * as namespaces from "./namespace-operations.ts";
import type { Context, Operation } from "./operation.ts";
import * as queries from "./query-operations.ts";
import * as reads from "./read-operations.ts";
import * as resources from "./resource-operations.ts";
import * as streams from "./stream-operations.ts";
import * as writes from "./write-operations.ts";

type Generator = (context: Context) => Operation | undefined;

/** Every kind of operation, and how often it comes. */
const GENERATORS: readonly (readonly [weight: number, Generator])[] = [
  [20, writes.putVectors],
  [9, writes.updateVectors],
  [7, writes.deleteVectors],
  [4, writes.repeatWrite],
  [8, reads.getVectors],
  [8, reads.listVectors],
  [3, reads.exportVectors],
  [2, reads.getIndexStats],
  [16, queries.queryVectors],
  [4, queries.batchQueryVectors],
  [0.7, resources.measureRecall],
  [1, resources.createVectorBucket],
  [0.5, resources.deleteVectorBucket],
  [0.7, resources.getVectorBucket],
  [0.7, resources.listVectorBuckets],
  [2, resources.createIndex],
  [1, resources.getIndex],
  [0.7, resources.listIndexes],
  [1, resources.updateIndex],
  [0.5, resources.deleteIndex],
  [2, resources.tagResource],
  [1, namespaces.createNamespace],
  [1, namespaces.getNamespace],
  [1, namespaces.listNamespaces],
  [0.6, namespaces.deleteNamespace],
  [2, streams.importVectors],
  [2, streams.startUpload],
  [0.5, streams.cancelFinishedJob],
  [0.7, streams.listJobs],
];

const TOTAL = GENERATORS.reduce((sum, [weight]) => sum + weight, 0);

/** An operation for which the model has what it takes. */
export function randomOperation(context: Context): Operation {
  for (;;) {
    const operation = pick(context.random.next() * TOTAL)(context);
    if (operation) return operation;
  }
}

function pick(at: number): Generator {
  let sum = 0;
  for (const [weight, generator] of GENERATORS) {
    sum += weight;
    if (at < sum) return generator;
  }
  return writes.putVectors;
}

/** A write that can be repeated; undefined when chance gives none. */
export function randomWrite(context: Context): Operation | undefined {
  const generators = [writes.putVectors, writes.updateVectors, writes.deleteVectors];
  for (let i = 0; i < 50; i++) {
    const operation = context.random.pick(generators)(context);
    if ("idempotencyKey" in operation.request) return operation;
  }
  return undefined;
}
