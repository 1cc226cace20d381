import type { IncomingHttpHeaders } from "node:http";
import type { QuiverError } from "../errors.ts";
import type { CallKind } from "../rpc/admission.ts";
import type { Caller } from "../service/access/caller.ts";
import type { Origin } from "../service/access/callers.ts";

/** What a request says before its body. */
export interface RequestHead {
  readonly method: string;
  /** As it was sent, without the query, and without scheme and host where the client took this server for a proxy. */
  readonly path: string;
  /** What followed "?", as it was sent; "" when there is none. */
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  /** `http://host:port`, as the client calls this server. */
  readonly url: string;
  readonly origin: Origin;
  readonly requestId: string;
}

/** A request that has come whole, and may be served. */
export interface FacadeRequest {
  readonly head: RequestHead;
  readonly caller: Caller;
  /** The body as JSON; undefined when it is empty. */
  readonly body: unknown;
  /** The body as it came. */
  readonly bytes: Uint8Array;
  /** Says what it works on, such as "b/i", to the logs. */
  note(place: string): void;
}

export interface FacadeAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON; undefined: an empty body. */
  readonly body?: object;
}

/** One operation of a vendor's API. */
export interface Operation {
  /** As the vendor calls it, and as logs name it: `PutVectors`. */
  readonly name: string;
  readonly kind: CallKind;
  /** The longest body, in bytes; 0: it has none. */
  readonly maxBytes: number;
  serve(request: FacadeRequest): FacadeAnswer | Promise<FacadeAnswer>;
}

/** Who calls, by the head and, where a signature covers it, the body. */
export interface Proof {
  /** Undefined: the head alone does not tell. */
  readonly caller: Caller | undefined;
  /** Throws CREDENTIALS_INVALID, or what else is wrong with a body that is not the one of the head. */
  check(body: Uint8Array): Caller;
}

/** For a head that tells all. */
export function proofOf(caller: Caller): Proof {
  return { caller, check: () => caller };
}

/** A vendor's API: translates its requests to use cases and back, and changes nothing of what is stored. */
export interface Facade {
  /** As logs name it: `s3vectors`. */
  readonly name: string;
  /** Names of the fields that hold lists of numbers, which cost less than other lists. */
  readonly numberFields: ReadonlySet<string>;
  /** The operation that a request asks for; undefined: it is none of this API. */
  find(head: RequestHead): Operation | undefined;
  /** Throws CREDENTIALS_MISSING or CREDENTIALS_INVALID, before the body is read or after it. */
  authenticate(head: RequestHead, operation: Operation): Proof;
  /** An error as the API's clients understand it. */
  answerError(error: QuiverError, head: RequestHead, operation: Operation): FacadeAnswer;
  /** What every answer carries. */
  headers?(head: RequestHead): Readonly<Record<string, string>>;
}
