import type { CallKind } from "../../rpc/admission.ts";
import type { FacadeAnswer, FacadeRequest, Operation } from "../facade.ts";
import { Input } from "./input.ts";
import { S3_LIMITS } from "./limits.ts";

/** Serves a request; resolves to the body of its answer. */
export type Serve = (input: Input, request: FacadeRequest) => Promise<object>;

/** An operation whose request is JSON. */
export function operation(name: string, kind: CallKind, serve: Serve): Operation {
  const answer = async (request: FacadeRequest): Promise<FacadeAnswer> => {
    return { status: 200, body: await serve(new Input(request.body ?? {}), request) };
  };
  return { name, kind, maxBytes: S3_LIMITS.requestBytesMax, serve: answer };
}
