import assert from "node:assert/strict";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import type { Reason } from "../../src/errors.ts";
import type { Clients } from "./protocols.ts";

/** The error of a call that must fail with this code and reason. */
export async function failureOf(call: Promise<unknown>, code: Code, reason: Reason): Promise<ConnectError> {
  const error = await call.then(
    (answer) => assert.fail(`Expected ${reason}, got an answer: ${answer}`),
    (thrown: unknown) => ConnectError.from(thrown),
  );
  const found = error.findDetails(ErrorInfoSchema)[0]?.reason;
  assert.deepEqual([Code[error.code], found], [Code[code], reason], error.message);
  return error;
}

/** What ErrorInfo says beside the reason. */
export function factsOf(error: ConnectError): Record<string, string> {
  return { ...error.findDetails(ErrorInfoSchema)[0]?.metadata };
}

/** Creates an index of dimension 2, whose bucket is created when it is not there; returns its ARN. */
export async function createIndex(clients: Clients, bucket: string, index: string, options: object = {}) {
  await clients.buckets.createVectorBucket({ vectorBucketName: bucket }).catch((error: unknown) => {
    if (ConnectError.from(error).code !== Code.AlreadyExists) throw error;
  });
  const { indexArn } = await clients.indexes.createIndex({
    vectorBucketName: bucket,
    indexName: index,
    dataType: DataType.FLOAT32,
    dimension: 2,
    distanceMetric: DistanceMetric.EUCLIDEAN,
    ...options,
  });
  return indexArn;
}
