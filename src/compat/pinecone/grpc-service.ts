import type { HandlerContext } from "@connectrpc/connect";
import {
  QueryRequestSchema,
  type SparseValues,
  SparseValuesSchema,
  UpdateRequestSchema,
  VectorSchema,
  VectorService,
} from "../../../gen/pinecone/vector_service_pb.ts";
import { callKey } from "../../rpc/call.ts";
import { defineService, type RpcService } from "../../rpc/define-service.ts";
import { floatsIn } from "../../rpc/float-bytes.ts";
import type { Service } from "../../service/service.ts";
import { createDataPlane } from "./data-plane.ts";
import type { DataPlane, DataPlaneOptions } from "./data-plane-call.ts";
import { indexOfCall } from "./index-of-call.ts";
import { PINECONE_LIMITS } from "./limits.ts";

/**
 * Pinecone's API for gRPC. Its messages have the members that the data plane reads and writes as JSON, so that they are
 * handed on as they are; only floats and 64-bit numbers are not the same in both.
 */
export function createGrpcService(service: Service, options: DataPlaneOptions): RpcService {
  const data = createDataPlane(service, options);

  const serve = async (operation: DataPlane[keyof DataPlane], body: object, context: HandlerContext) => {
    const call = context.values.get(callKey);
    const index = await indexOfCall(service, options, call);
    call.note(`${options.defaultBucket}/${index}`);
    return operation({ caller: call.caller, index, body });
  };

  const rpc = defineService(VectorService, {
    upsert(request, context) {
      const vectors = request.vectors.map((vector) => ({
        ...vector,
        values: floatsIn(vector, VectorSchema.field.values),
        sparseValues: fromSparse(vector.sparseValues),
      }));
      return serve(data.upsert, { ...request, vectors }, context);
    },
    update(request, context) {
      const values = floatsIn(request, UpdateRequestSchema.field.values);
      return serve(data.update, { ...request, values, sparseValues: fromSparse(request.sparseValues) }, context);
    },
    query(request, context) {
      const vector = floatsIn(request, QueryRequestSchema.field.vector);
      return serve(data.query, { ...request, vector, sparseVector: fromSparse(request.sparseVector) }, context);
    },
    fetch: (request, context) => serve(data.fetch, request, context),
    fetchByMetadata: (request, context) => serve(data.fetchByMetadata, request, context),
    delete: (request, context) => serve(data.delete, request, context),
    list: (request, context) => serve(data.list, request, context),
    describeIndexStats: (request, context) => serve(data.describeIndexStats, request, context),
    async listNamespaces(request, context) {
      const answer = await serve(data.listNamespaces, request, context);
      return { ...answer, namespaces: (answer.namespaces as Record<string, unknown>[]).map(toDescription) };
    },
    async createNamespace(request, context) {
      return toDescription(await serve(data.createNamespace, request, context));
    },
    async describeNamespace(request, context) {
      return toDescription(await serve(data.describeNamespace, request, context));
    },
    deleteNamespace: (request, context) => serve(data.deleteNamespace, request, context),
  });
  return { ...rpc, maxMessageBytes: PINECONE_LIMITS.requestBytesMax };
}

function fromSparse(sparse: SparseValues | undefined) {
  return sparse && { indices: sparse.indices, values: floatsIn(sparse, SparseValuesSchema.field.values) };
}

/** A namespace, whose messages count in 64 bits. */
function toDescription({ name, recordCount }: Record<string, unknown>) {
  return { name: `${name}`, recordCount: BigInt(recordCount as number) };
}
