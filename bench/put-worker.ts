/** Puts rows at full speed on a thread of its own, so that their encoding holds up no other client of this process. */
import { workerData } from "node:worker_threads";
import { VectorService } from "../gen/quiver/v1/vector_service_pb.ts";
import type { Row } from "./data.ts";
import { createGrpcJsClient } from "./grpc-js-client.ts";
import { batches, each } from "./processor.ts";
import { putRows } from "./quiver.ts";
import { CALLS_AT_ONCE, PUT_ROWS } from "./workloads.ts";

/** What the thread is started with. */
export interface PutWork {
  readonly url: string;
  readonly rows: readonly Row[];
}

const { url, rows } = workerData as PutWork;
const vectors = createGrpcJsClient(VectorService, url);
await each(batches(rows, PUT_ROWS), CALLS_AT_ONCE, (batch) => putRows(vectors, batch));
// The connection would keep the thread alive until it is idle for long.
process.exit();
