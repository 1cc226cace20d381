import type { ServerResponse } from "node:http";
import { createAsyncIterable, type UniversalServerResponse } from "@connectrpc/connect/protocol";
import { universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { HttpRequest, HttpResponse } from "../node-http.ts";
import { ANSWER_TIMES, countAnswer, type TakeMemory, WRITE_BYTES } from "./answer-memory.ts";
import { discardRest } from "./discard-rest.ts";
import type { Lease } from "./memory-budget.ts";

/** An answer that is whole. */
export interface WholeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  readonly trailer?: Readonly<Record<string, string>> | undefined;
}

/** What the answer's bytes are counted by. */
export interface BodyMemory {
  readonly lease: Lease;
  readonly takeMemory: TakeMemory;
}

/** Resolves when the answer is handed over to be sent, of which the end waits for what is left of the request. */
export async function sendBody(
  request: HttpRequest,
  response: HttpResponse,
  { status, headers, body, trailer }: WholeAnswer,
  { lease, takeMemory }: BodyMemory,
): Promise<void> {
  if (body.length > WRITE_BYTES) {
    const pieces = countAnswer(createAsyncIterable([body]), lease, takeMemory);
    const answer: UniversalServerResponse = { status, header: new Headers(headers), body: pieces };
    return universalResponseToNodeResponse(trailer ? { ...answer, trailer: new Headers(trailer) } : answer, response);
  }
  lease.take(ANSWER_TIMES * body.length);
  const room = takeMemory(ANSWER_TIMES * body.length);
  if (room !== undefined) await room;
  (response as ServerResponse).writeHead(status, headers);
  if (trailer !== undefined) response.addTrailers(trailer);
  if (request.complete) {
    response.end(body);
    return;
  }
  (response as ServerResponse).write(body);
  await discardRest(request);
  response.end();
}
