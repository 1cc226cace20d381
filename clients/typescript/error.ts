import { createRegistry } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, file_google_rpc_error_details } from "../../gen/google/rpc/error_details_pb.ts";

/**
 * What answers in JSON need to be read when they carry errors, as those to batches do. For transports of your own that
 * speak JSON: `createConnectTransport({ baseUrl, useBinaryFormat: false, jsonOptions: { registry } })`.
 */
export const registry = createRegistry(file_google_rpc_error_details);

/** Why a call failed, such as "INDEX_NOT_FOUND"; undefined when it was not Quiver that refused it. */
export function reasonOf(error: unknown): string | undefined {
  if (!(error instanceof ConnectError)) return undefined;
  return error.findDetails(ErrorInfoSchema).find(({ domain }) => domain === "quiver")?.reason;
}
