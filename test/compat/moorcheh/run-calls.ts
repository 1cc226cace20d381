import assert from "node:assert/strict";
import type { OperationRow } from "../support/compatibility-table.ts";
import { runPython } from "../support/python.ts";

/** One call of an official client, such as `vectors.upload`. */
export interface ClientCall {
  readonly label: string;
  readonly call: string;
  readonly kwargs?: Readonly<Record<string, unknown>>;
  /** Called again until the answer's status is one of these. */
  readonly until?: readonly string[];
}

export interface CallResult {
  readonly answer?: unknown;
  /** The class of the exception. */
  readonly error?: string;
  readonly message?: string;
  readonly status?: number | null;
  readonly body?: unknown;
  readonly isItemLimit?: boolean | null;
  /** Seconds that the client wanted to wait before each further attempt. */
  readonly waits: readonly number[];
}

export interface ClientRun {
  /** Every operation that the client offers. */
  readonly methods: readonly string[];
  readonly results: Readonly<Record<string, CallResult>>;
}

export async function runCalls(
  script: "moorcheh_onprem.py" | "moorcheh_cloud.py",
  url: string,
  calls: readonly ClientCall[],
  ...apiKey: readonly string[]
): Promise<ClientRun> {
  return (await runPython(script, [url, JSON.stringify(calls), ...apiKey])) as ClientRun;
}

/** Fails unless the calls show for each row that it is as the table says. */
export function assertOperations(rows: readonly OperationRow[], calls: readonly ClientCall[], { results }: ClientRun) {
  for (const { operation, status } of rows) {
    const outcomes = calls.flatMap(({ label, call }) => (call === operation ? [results[label]] : []));
    assert.notEqual(outcomes.length, 0, `${operation} is never called`);
    const works = outcomes.some((outcome) => outcome?.error === undefined);
    assert.equal(works, status !== "not offered", `${operation} is ${status}: ${JSON.stringify(outcomes)}`);
    if (works) continue;
    for (const outcome of outcomes)
      assert.match(outcome?.message ?? "", /is not offered: this server has no embedding/);
  }
}
