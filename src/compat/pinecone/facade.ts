import { QuiverError } from "../../errors.ts";
import type { CallKind } from "../../rpc/admission.ts";
import type { Service } from "../../service/service.ts";
import { byApiKey } from "../by-api-key.ts";
import type { Facade, FacadeAnswer, FacadeRequest, Operation, RequestHead } from "../facade.ts";
import { createRoutes, pathBelow } from "../path-routes.ts";
import { createDataPlane } from "./data-plane.ts";
import type { DataPlane, DataPlaneOptions } from "./data-plane-call.ts";
import { answerError, type Plane } from "./errors.ts";
import { type ControlOperation, createIndexOperations } from "./indexes.ts";
import { PINECONE_LIMITS } from "./limits.ts";
import { CONTROL_NOT_OFFERED, DATA_NOT_OFFERED, type NotOffered, notOffered } from "./not-offered.ts";
import { queryFields } from "./query-fields.ts";
import { fromResponse } from "./rest-form.ts";

const PREFIX = "/pinecone";

type Names = Readonly<Record<string, string>>;

/** An operation before the names in its path are known. */
interface Handler {
  readonly name: string;
  readonly plane: Plane;
  readonly kind: CallKind;
  readonly hasBody: boolean;
  /** Why it is refused, whatever is sent. */
  readonly refusal?: QuiverError;
  serve(request: FacadeRequest, names: Names): Promise<FacadeAnswer>;
}

/** Pinecone's REST API, versions 2025-04 to 2026-04: `/pinecone` is the control plane, `/pinecone/i/<index>` an index's host. */
export function createPineconeFacade(service: Service, options: DataPlaneOptions): Facade {
  const route = createRoutes(createHandlers(service, options));

  function match(head: RequestHead) {
    const path = pathBelow(PREFIX, head);
    if (path === undefined) return undefined;
    return route(head.method, path) ?? { handler: unknown(path.startsWith("/i/") ? "data" : "control"), names: {} };
  }

  return {
    name: "pinecone",
    numberFields: new Set(["values", "indices", "vector"]),
    find(head): Operation | undefined {
      const found = match(head);
      if (!found) return undefined;
      const { handler, names } = found;
      return {
        name: handler.name,
        kind: handler.kind,
        maxBytes: handler.hasBody ? PINECONE_LIMITS.requestBytesMax : 0,
        async serve(request) {
          if (names.index !== undefined) request.note(`${options.defaultBucket}/${names.index}`);
          return handler.serve(request, names);
        },
      };
    },
    authenticate: (head) => byApiKey(service, head),
    answerError(error, head) {
      const handler = match(head)?.handler;
      return answerError(toldOf(error, handler?.refusal), handler?.plane ?? "control");
    },
    headers: ({ requestId }) => ({ "x-pinecone-request-id": requestId }),
  };
}

/** Nothing is wrong with the body of a request for which there is no operation. */
function toldOf(error: QuiverError, refusal: QuiverError | undefined): QuiverError {
  const isOfBody = error.reason === "MALFORMED_REQUEST" || error.reason === "REQUEST_TOO_LARGE";
  return isOfBody && refusal ? refusal : error;
}

function createHandlers(service: Service, options: DataPlaneOptions): Readonly<Record<string, Handler>> {
  const indexes = createIndexOperations(service, options);
  const plane = createDataPlane(service, options);
  const data: Readonly<Record<string, Handler>> = {
    "POST /vectors/upsert": fromBody(plane, "upsert", "write"),
    "POST /vectors/update": fromBody(plane, "update", "write"),
    "POST /vectors/delete": fromBody(plane, "delete", "write"),
    "POST /query": fromBody(plane, "query", "search"),
    "GET /vectors/fetch": fromQuery(plane, "fetch"),
    "POST /vectors/fetch_by_metadata": fromBody(plane, "fetchByMetadata", "read"),
    "GET /vectors/list": fromQuery(plane, "list"),
    "POST /describe_index_stats": fromBody(plane, "describeIndexStats", "read"),
    "GET /namespaces": fromQuery(plane, "listNamespaces"),
    "POST /namespaces": fromBody(plane, "createNamespace", "write"),
    "GET /namespaces/{namespace}": fromPath(plane, "describeNamespace", "read"),
    "DELETE /namespaces/{namespace}": fromPath(plane, "deleteNamespace", "write"),
    ...refusals("data", DATA_NOT_OFFERED),
  };
  return {
    "POST /indexes": control("createIndex", "write", indexes.createIndex),
    "GET /indexes": control("listIndexes", "read", indexes.listIndexes),
    ...refusals("control", CONTROL_NOT_OFFERED),
    "GET /indexes/{index}": control("describeIndex", "read", indexes.describeIndex),
    "PATCH /indexes/{index}": control("configureIndex", "write", indexes.configureIndex),
    "DELETE /indexes/{index}": control("deleteIndex", "write", indexes.deleteIndex),
    ...Object.fromEntries(
      Object.entries(data).map(([pattern, handler]) => [pattern.replace(" ", " /i/{index}"), handler]),
    ),
  };
}

function control(name: string, kind: CallKind, operation: ControlOperation): Handler {
  const hasBody = name === "createIndex" || name === "configureIndex";
  return {
    name,
    plane: "control",
    kind,
    hasBody,
    serve: ({ caller, head: { url }, body }, { index = "" }) => operation({ caller, url, index, body }),
  };
}

function fromBody(plane: DataPlane, name: keyof DataPlane, kind: CallKind): Handler {
  return dataHandler(plane, { name, kind, hasBody: true, bodyOf: ({ body }) => body ?? {} });
}

function fromQuery(plane: DataPlane, name: keyof DataPlane): Handler {
  const bodyOf = ({ head }: FacadeRequest) => queryFields(head.query);
  return dataHandler(plane, { name, kind: "read", hasBody: false, bodyOf });
}

function fromPath(plane: DataPlane, name: keyof DataPlane, kind: CallKind): Handler {
  const bodyOf = (_: FacadeRequest, { namespace }: Names) => ({ namespace });
  return dataHandler(plane, { name, kind, hasBody: false, bodyOf });
}

interface DataHandler extends Pick<Handler, "kind" | "hasBody"> {
  readonly name: keyof DataPlane;
  bodyOf(request: FacadeRequest, names: Names): unknown;
}

function dataHandler(plane: DataPlane, { name, kind, hasBody, bodyOf }: DataHandler): Handler {
  return {
    name,
    plane: "data",
    kind,
    hasBody,
    async serve(request, names) {
      const { index = "" } = names;
      let lsn = 0;
      const noteLsn = (noted: number) => {
        lsn = noted;
      };
      const response = await plane[name]({ caller: request.caller, index, body: bodyOf(request, names), noteLsn });
      const header = kind === "write" ? "x-pinecone-request-lsn" : "x-pinecone-max-indexed-lsn";
      return { status: 200, ...(lsn > 0 && { headers: { [header]: `${lsn}` } }), body: fromResponse(name, response) };
    },
  };
}

function refusing(plane: Plane, name: string, refusal: QuiverError): Handler {
  return {
    name,
    plane,
    kind: "read",
    hasBody: true,
    refusal,
    async serve() {
      throw refusal;
    },
  };
}

function unknown(plane: Plane): Handler {
  const message =
    "There is nothing under this method and path: see https://docs.pinecone.io for those of API version 2026-04";
  return refusing(plane, "unknown", new QuiverError("SERVICE_NOT_FOUND", message));
}

function refusals(plane: Plane, rows: Readonly<Record<string, NotOffered>>): Record<string, Handler> {
  return Object.fromEntries(
    Object.entries(rows).map(([pattern, row]) => [pattern, refusing(plane, row.operation, notOffered(row))]),
  );
}
