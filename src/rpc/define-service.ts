import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { QuiverError } from "../errors.ts";

/** A service and the methods that this server has of it. */
export interface RpcService {
  readonly service: DescService;
  readonly implementation: Partial<ServiceImpl<DescService>>;
  /** The longest request, in bytes, binary or JSON. Default: as long as the server takes any. */
  readonly maxMessageBytes?: number;
}

/**
 * Pairs a service with its handlers. Methods that are left out answer UNIMPLEMENTED. A handler throws QuiverError; its
 * request id and the shutdown signal stand in `context.values.get(callKey)`.
 */
export function defineService<Desc extends DescService>(
  service: Desc,
  implementation: Partial<ServiceImpl<Desc>>,
): RpcService {
  const methods = service.methods.map((method) => {
    const handler = (implementation as Record<string, unknown>)[method.localName];
    return [method.localName, typeof handler === "function" ? handler.bind(implementation) : refuse(method)];
  });
  return { service, implementation: Object.fromEntries(methods) as Partial<ServiceImpl<DescService>> };
}

/** What a method answers that the server does not have, by its full name: `quiver.v1.JobService/StartUpload`. */
export function notImplemented(method: string): QuiverError {
  const message = `Method "${method}" does not exist, or is not implemented: docs/reference/unimplemented.md lists those`;
  return new QuiverError("NOT_IMPLEMENTED", message, { metadata: { method } });
}

function refuse(method: DescMethod): () => never {
  return () => {
    throw notImplemented(`${method.parent.typeName}/${method.name}`);
  };
}
