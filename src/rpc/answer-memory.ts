import type { DescMethod } from "@bufbuild/protobuf";
import { kindOf } from "./admission.ts";
import { createMemoryBudget, type Lease } from "./memory-budget.ts";

/** What an export holds while nobody reads it: a part, encoded and decoded, and the one after it. */
const EXPORT_BYTES = 6 * 1024 * 1024;
const EXPORT = "ExportVectors";

/** How much of the budget exports may take together, so that they leave something to other calls. */
const EXPORTS_SHARE = 1 / 2;

/** Bytes in memory for each of an answer that is being written: encoded, and what it was encoded from. */
export const ANSWER_TIMES = 2;

/** How much of an answer is written at once: whoever takes so much now and then is not cut for reading slowly. */
export const WRITE_BYTES = 256 * 1024;

/** Notes that the process takes so many bytes; a promise when whoever takes more has to wait. */
export type TakeMemory = (bytes: number) => Promise<void> | undefined;

/** Bounds the bytes of answers that their clients have not taken yet, of all calls together. */
export interface AnswerMemory {
  /**
   * For a call whose body is not read yet, of a method or, without one, of another protocol. Throws MEMORY_FULL when too much
   * waits to be sent already.
   */
  open(method?: DescMethod): Lease;
}

export function createAnswerMemory(maxBytes: number): AnswerMemory {
  const what = "Answers that are not sent yet";
  const all = createMemoryBudget({ what, maxBytes });
  const exports = createMemoryBudget({ what: "Exports", maxBytes: maxBytes * EXPORTS_SHARE });
  return {
    open(method) {
      if (method?.name === EXPORT) {
        const lease = exports.open();
        lease.reserve(EXPORT_BYTES);
        return lease;
      }
      const lease = all.open();
      // What runs the server is always served.
      if (method === undefined || kindOf(method) !== undefined) all.assertLeft();
      return lease;
    },
  };
}

/**
 * Hands on the body of an answer in small pieces, and counts those that are in memory. Waits while garbage is collected: many
 * answers at a time, of which nobody takes anything, make as much of it as the buffers of their connections hold.
 */
export async function* countAnswer(
  body: AsyncIterable<Uint8Array>,
  lease: Lease,
  takeMemory: TakeMemory,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    lease.take(ANSWER_TIMES * chunk.length);
    await takeMemory(ANSWER_TIMES * chunk.length);
    for (let at = 0; at < chunk.length; at += WRITE_BYTES) yield chunk.subarray(at, at + WRITE_BYTES);
    lease.release(ANSWER_TIMES * chunk.length);
  }
}
