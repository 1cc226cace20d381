import type { Message } from "@bufbuild/protobuf";
import { createContextValues, type HandlerContext } from "@connectrpc/connect";
import type { HttpRequest, HttpResponse } from "../node-http.ts";
import { workTurns } from "../work-turns.ts";
import type { TakeMemory } from "./answer-memory.ts";
import { type Call, type CallContext, type CallLogs, callKey, endCall } from "./call.ts";
import { toConnectError, toRequestError } from "./error.ts";
import { clientLeft, deadlinePassed } from "./interceptor.ts";
import type { Answer, Route, UnaryHandler } from "./method-routes.ts";
import { placeOf } from "./place-of.ts";
import { gatherBody } from "./request-body.ts";
import { TIMER_MAX_MS, timeoutOf } from "./request-format.ts";
import { bodyBytesMax, dressOf, readMessage, sendAnswer, writeMessage } from "./unary-dress.ts";

/**
 * Serves a call without streams. Resolves to nothing when that is done, and otherwise to the body with which connect has
 * to serve it.
 */
export type ServeUnary = (
  route: Route,
  request: HttpRequest,
  response: HttpResponse,
  call: Call,
) => Promise<AsyncIterable<Uint8Array> | undefined>;

export interface ServeUnaryOptions extends CallLogs {
  readonly takeMemory: TakeMemory;
}

/** From here on a request is large. */
export const LARGE_BYTES = 64 * 1024;

/**
 * Connect's pipeline takes several times as long as the rest of what a short call needs. So what is usual is done here,
 * and what is not is left to connect: streams, compressed requests, bytes that are no message, and errors, for which it
 * knows the dress of each protocol.
 */
export function createServeUnary({ takeMemory, ...logs }: ServeUnaryOptions): ServeUnary {
  return async (route, request, response, call) => {
    const { unary } = route;
    const dress = unary && call.refusal === undefined ? dressOf(request) : undefined;
    // Connect's own iterator destroys the connection when a body is refused midway, and the answer with it.
    const rest = () => request.iterator({ destroyOnReturn: false });
    if (unary === undefined || dress === undefined) return rest();

    const context = new UnaryContext(call);
    const stop = context.follow(request, response);
    let bytes: Uint8Array;
    try {
      const body = await context.wait(gatherBody(request, bodyBytesMax(route, dress), call.lease.reserve));
      // To read and check a large message takes milliseconds: several that came together are not done in one go.
      const isLarge = body.bytes.length >= LARGE_BYTES;
      if (isLarge) await context.wait(workTurns.next(body.bytes.length));
      const message = body.isWhole ? readMessage(route, dress, body.bytes) : undefined;
      if (message === undefined) {
        // It is counted again as it is read again.
        call.lease.release(body.bytes.length);
        return body.isWhole ? join(body.bytes) : join(body.bytes, rest());
      }
      if (isLarge) await context.wait(workTurns.next(body.bytes.length));
      bytes = writeMessage(route, dress, await answerOf(unary, message, context, call));
    } catch (error) {
      call.refusal = call.stage === "request" ? toRequestError(error) : toConnectError(error, call.requestId);
      return join(Buffer.alloc(0));
    } finally {
      stop();
    }
    endCall(call, dress.protocol, logs);
    await sendAnswer(request, response, dress, bytes, { lease: call.answer, takeMemory });
    return undefined;
  };
}

async function answerOf(unary: UnaryHandler, message: Message, context: UnaryContext, call: Call): Promise<Answer> {
  call.stage = "handler";
  call.note(placeOf(message));
  // Handlers are told of no more than that: see CallContext.
  const answer = await context.wait(unary(message, context as CallContext as HandlerContext));
  call.ticket.end();
  return answer;
}

async function* join(bytes: Uint8Array, rest?: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
  if (rest !== undefined) yield* rest;
}

/** Ends what a call waits for when its deadline passes, its client leaves, or it may not go on. */
export class UnaryContext implements CallContext {
  readonly values = createContextValues();
  #controller: AbortController | undefined;
  #reason: Error | undefined;
  #reject: (reason: Error) => void = () => {};

  constructor(call: Call) {
    this.values.set(callKey, call);
    call.cut = (reason) => this.#end(reason);
  }

  /** Few handlers ask for it, and it takes longer than all else that is here. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** Until the returned function is called. */
  follow(request: HttpRequest, response: HttpResponse): () => void {
    const onClose = () => this.#end(clientLeft());
    response.once("close", onClose);
    const timeoutMs = timeoutOf(request.headers);
    const timer = timeoutMs < TIMER_MAX_MS ? setTimeout(() => this.#end(deadlinePassed()), timeoutMs) : undefined;
    return () => {
      response.off("close", onClose);
      clearTimeout(timer);
    };
  }

  wait<T>(work: T | Promise<T>): Promise<T> {
    if (this.#reason !== undefined) return Promise.reject(this.#reason);
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      Promise.resolve(work).then(resolve, reject);
    });
  }

  #end(reason: Error): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#reject(reason);
    this.#controller?.abort(reason);
  }
}
