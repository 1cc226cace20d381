import type { Service } from "../../service/service.ts";
import type { DataPlane, DataPlaneOptions } from "./data-plane-call.ts";
import { createNamespaceOperations } from "./namespaces.ts";
import { createQueryOperations } from "./queries.ts";
import { createReadOperations } from "./reads.ts";
import { createWriteOperations } from "./writes.ts";

/** Pinecone's operations on the records of an index: REST and gRPC speak the same, REST in the JSON form of the messages. */
export function createDataPlane(service: Service, options: DataPlaneOptions): DataPlane {
  return {
    ...createWriteOperations(service, options),
    ...createQueryOperations(service, options),
    ...createReadOperations(service, options),
    ...createNamespaceOperations(service, options),
  };
}
