import { isUtf8 } from "node:buffer";
import type { Http2Session } from "node:http2";
import { QuiverError } from "../errors.ts";
import type { HttpRequest, HttpResponse } from "../node-http.ts";
import type { TakeMemory } from "../rpc/answer-memory.ts";
import { type Call, type CallLogs, endCall } from "../rpc/call.ts";
import { type CallPlan, type Calls, connectionOf, requestIdOf } from "../rpc/calls.ts";
import { originOf } from "../rpc/client-address.ts";
import { toConnectError, toQuiverError, toRequestError } from "../rpc/error.ts";
import { createPlainJsonScan } from "../rpc/json-scan.ts";
import { gatherBody } from "../rpc/request-body.ts";
import { DEFAULT_RPC_LIMITS } from "../rpc/rpc-limits.ts";
import { type BodyMemory, sendBody } from "../rpc/send-body.ts";
import { LARGE_BYTES, UnaryContext } from "../rpc/unary.ts";
import { nobody } from "../service/access/callers.ts";
import { workTurns } from "../work-turns.ts";
import { type Facade, type FacadeAnswer, type Operation, type Proof, proofOf, type RequestHead } from "./facade.ts";
import { writeJson } from "./write-json.ts";

export interface CompatHandlerOptions extends CallLogs {
  readonly facades: readonly Facade[];
  /** What the native API's calls share with these. */
  readonly calls: Calls;
  /** Of the server itself. */
  readonly scheme: "http" | "https";
  /** Why a request is refused, whoever calls and whatever it asks for. Default: none is. */
  refuse?(request: HttpRequest): QuiverError | undefined;
  /** Is told of HTTP/2 connections whose requests bring valid credentials, for each request. Default: nobody is. */
  onLetIn?(connection: Http2Session): void;
  readonly takeMemory: TakeMemory;
}

const NOTHING = Buffer.alloc(0);

/** Answers a request of a vendor's API; false means that it is none and that nothing has been done. */
export type CompatHandler = (request: HttpRequest, response: HttpResponse) => boolean;

/** Serves the APIs of other vendors, each to its own clients. */
export function createCompatHandler(options: CompatHandlerOptions): CompatHandler {
  const serve = createServe(options);
  const scans = new Map(options.facades.map((facade) => [facade, createPlainJsonScan(facade.numberFields)]));

  return (request, response) => {
    const head = headOf(request, options.scheme);
    for (const [facade, scan] of scans) {
      const operation = facade.find(head);
      if (operation === undefined) continue;
      const [proof, stranger] = authenticate(facade, head, operation);
      const plan: CallPlan = {
        requestId: head.requestId,
        method: `${facade.name}/${operation.name}`,
        kind: operation.kind,
        endsWithCaller: false,
        caller: proof.caller ?? nobody(head.origin),
        refusal: () => options.refuse?.(request) ?? stranger,
        openAnswer: (answers) => answers.open(),
        refuseQuickly: () => false,
        serve: (call) => serve({ facade, scan, head, operation, proof }, request, response, call),
      };
      options.calls.run(plan, request, response);
      return true;
    }
    return false;
  };
}

/** What is known of a request before its body. */
interface Asked {
  readonly facade: Facade;
  readonly scan: ReturnType<typeof createPlainJsonScan>;
  readonly head: RequestHead;
  readonly operation: Operation;
  readonly proof: Proof;
}

type Exchange = [asked: Asked, request: HttpRequest, response: HttpResponse, call: Call];

function createServe({ takeMemory, onLetIn, ...logs }: CompatHandlerOptions): (...exchange: Exchange) => Promise<void> {
  return async (...exchange) => {
    const [{ facade, head, operation }, request, response, call] = exchange;
    let answer: FacadeAnswer;
    let bytes: Buffer;
    try {
      answer = await answerOf(exchange, onLetIn);
      bytes = answer.body === undefined ? NOTHING : await writeJson(answer.body);
      endCall(call, facade.name, logs);
    } catch (thrown) {
      const error =
        call.stage === "request" && !(thrown instanceof QuiverError)
          ? new QuiverError("CANCELLED", toRequestError(thrown).rawMessage, { cause: thrown })
          : toQuiverError(thrown, call.requestId);
      answer = facade.answerError(error, head, operation);
      bytes = Buffer.from(JSON.stringify(answer.body));
      endCall(call, facade.name, logs, toConnectError(error, call.requestId));
    }
    const headers = { ...facade.headers?.(head), ...answer.headers };
    await send(request, response, { ...answer, headers }, bytes, { lease: call.answer, takeMemory });
  };
}

async function answerOf(
  [asked, request, response, call]: Exchange,
  onLetIn: CompatHandlerOptions["onLetIn"],
): Promise<FacadeAnswer> {
  const { scan, head, operation, proof } = asked;
  if (call.refusal !== undefined) throw call.refusal;
  const context = new UnaryContext(call);
  const stop = context.follow(request, response);
  try {
    const encoding = head.headers["content-encoding"] ?? "identity";
    if (encoding !== "identity") throw malformed(`is compressed with ${JSON.stringify(encoding)}: send it as it is`);
    const { bytes, isWhole } = await context.wait(gatherBody(request, operation.maxBytes, call.lease.reserve));
    call.stage = "handler";
    if (!isWhole) throw tooLarge(operation.maxBytes);
    const isLarge = bytes.length >= LARGE_BYTES;
    if (isLarge) await context.wait(workTurns.next(bytes.length));
    const caller = proof.check(bytes);
    call.caller = caller;
    if ("stream" in request && request.stream.session) onLetIn?.(request.stream.session);
    check(bytes, scan);
    // Many keys take a tenth of a second to be scanned and two to be parsed.
    if (isLarge) await context.wait(workTurns.next(bytes.length));
    const body = parse(bytes);
    if (isLarge) await context.wait(workTurns.next(bytes.length));
    return await context.wait(operation.serve({ head, caller, body, bytes, note: call.note }));
  } finally {
    stop();
  }
}

function check(bytes: Buffer, scan: Asked["scan"]): void {
  if (!isUtf8(bytes)) throw malformed("is not valid UTF-8");
  scan(bytes, DEFAULT_RPC_LIMITS);
}

function parse(bytes: Buffer): unknown {
  if (bytes.length === 0) return undefined;
  try {
    return JSON.parse(bytes.toString());
  } catch (cause) {
    throw malformed("is not valid JSON", cause);
  }
}

async function send(
  request: HttpRequest,
  response: HttpResponse,
  { status, headers, body }: FacadeAnswer,
  bytes: Buffer,
  memory: BodyMemory,
): Promise<void> {
  const type: Record<string, string> = body === undefined ? {} : { "content-type": "application/json" };
  // RFC 9110, 8.6: 204 has none.
  const length: Record<string, string> = status === 204 ? {} : { "content-length": `${bytes.length}` };
  const isSilent = status === 204 || request.method === "HEAD";
  const answer = { status, headers: { ...type, ...length, ...headers }, body: isSilent ? NOTHING : bytes };
  await sendBody(request, response, answer, memory);
}

function authenticate(facade: Facade, head: RequestHead, operation: Operation): [Proof, QuiverError | undefined] {
  try {
    return [facade.authenticate(head, operation), undefined];
  } catch (error) {
    if (!(error instanceof QuiverError)) throw error;
    return [proofOf(nobody(head.origin)), error];
  }
}

function headOf(request: HttpRequest, scheme: string): RequestHead {
  const { headers } = request;
  const host = headers[":authority"] ?? headers.host ?? "";
  // A client that takes this server for a proxy sends the whole URL.
  const target = (request.url ?? "").replace(/^https?:\/\/[^/?]*/i, "");
  const at = target.indexOf("?");
  const path = at < 0 ? target : target.slice(0, at);
  return {
    method: request.method ?? "",
    path: path === "" ? "/" : path,
    query: at < 0 ? "" : target.slice(at + 1),
    headers,
    url: `${scheme}://${host}`,
    origin: originOf(connectionOf(request)),
    requestId: requestIdOf(headers),
  };
}

function malformed(problem: string, cause?: unknown): QuiverError {
  return new QuiverError("MALFORMED_REQUEST", `The request's body ${problem}`, { cause });
}

function tooLarge(max: number): QuiverError {
  const message = `Request body is larger than the limit of ${max} bytes`;
  return new QuiverError("REQUEST_TOO_LARGE", message, { metadata: { max: `${max}` } });
}
