import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import type { Clients } from "../support/protocols.ts";
import type { Random } from "../support/random.ts";
import type { Model, Place } from "./model.ts";
import type { Watchers } from "./watchers.ts";

/** What operations are made from, and held against. */
export interface Context {
  readonly random: Random;
  readonly model: Model;
  readonly watchers: Watchers;
  /** The highest lsn that was answered before the operations under way began: reads see at least this. */
  floor: bigint;
}

/** One call: its request, and what the model says about its outcome. */
export interface Operation {
  /** "VectorService/PutVectors". */
  readonly method: string;
  readonly request: object;
  /** Where it reads or writes; undefined where it is about more than one namespace. */
  readonly place: Place | undefined;
  /** Reads and writes of different places may run side by side. */
  readonly effect: "read" | "write" | "alone";
  call(clients: Clients): Promise<object>;
  /** Compares the outcome with the model, and changes the model as the contract says. */
  settle(outcome: Outcome, clients: Clients): Promise<void>;
}

export type Outcome = { readonly answer: object } | { readonly reason: string; readonly error: ConnectError };

export interface OperationParts<Answer extends object> {
  readonly method: string;
  readonly request: object;
  readonly place?: Place;
  readonly effect: Operation["effect"];
  readonly call: (clients: Clients) => Promise<Answer>;
  /** The reason that the contract refuses it with; undefined when it must succeed. */
  readonly refusal: () => string | undefined;
  readonly accept: (answer: Answer, clients: Clients) => void | Promise<void>;
}

export function createOperation<Answer extends object>(parts: OperationParts<Answer>): Operation {
  const { method, request, place, effect, call, refusal, accept } = parts;
  return {
    method,
    request,
    place,
    effect,
    call,
    async settle(outcome, clients) {
      const expected = refusal();
      if ("reason" in outcome) {
        const told = outcome.error.message;
        assert.equal(outcome.reason, expected ?? "no error", told);
      } else {
        assert.equal("no error", expected ?? "no error");
        await accept(outcome.answer as Answer, clients);
      }
    },
  };
}

/** No call here takes long: one that has not ended by then hangs. */
const CALL_MS_MAX = 60_000;

/** What a call comes to; rejects when it fails without a reason of the server, or hangs. */
export async function outcomeOf(call: Promise<object>): Promise<Outcome> {
  const end = new AbortController();
  const late = setTimeout(CALL_MS_MAX, undefined, { signal: end.signal }).then(
    () => assert.fail(`No answer within ${CALL_MS_MAX} ms`),
    () => ({}),
  );
  try {
    return { answer: await Promise.race([call, late]) };
  } catch (error) {
    const reason = reasonOf(error);
    if (reason === undefined) throw error;
    return { reason, error: error as ConnectError };
  } finally {
    end.abort();
  }
}

export function reasonOf(error: unknown): string | undefined {
  return error instanceof ConnectError ? error.findDetails(ErrorInfoSchema)[0]?.reason : undefined;
}

/** For logs: one line, with what JSON cannot say. */
export function describe({ method, request }: Operation): string {
  const text = JSON.stringify(request, (_, value) => {
    if (typeof value === "bigint") return `${value}n`;
    return typeof value === "string" && value.length > 200 ? `${value.slice(0, 8)}... of ${value.length}` : value;
  });
  return `${method} ${text.length > 2000 ? `${text.slice(0, 2000)}...` : text}`;
}
