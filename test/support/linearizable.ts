/** One call of a history: what was asked and answered, and when. */
export interface Call<Operation> {
  readonly operation: Operation;
  /** Any clock that all calls share. */
  readonly invoked: number;
  /** Infinity: its outcome was not seen, so that it may take effect at any later time, or never. */
  readonly returned: number;
}

/** What an operation makes of the state; undefined when its answer is impossible there. */
export type Step<State, Operation> = (state: State, operation: Operation) => State | undefined;

/**
 * Whether there is an order of the calls that explains every answer and in which no call stands before one that had
 * returned when it was invoked. Searches depth first, as J. M. Wing and C. Gong, "Testing and Verifying Concurrent
 * Objects", Journal of Parallel and Distributed Computing 17 (1993), and visits no state twice after the same calls, as
 * G. Lowe, "Testing for Linearizability", Concurrency and Computation 29 (2017).
 */
export function isLinearizable<State extends string | number, Operation>(
  calls: readonly Call<Operation>[],
  initial: State,
  step: Step<State, Operation>,
): boolean {
  // Those without an outcome last: they are needed least.
  const sorted = calls.toSorted((a, b) => Math.sign(a.returned - b.returned) || a.invoked - b.invoked);
  const visited = new Set<string>();
  const search = (state: State, taken: bigint): boolean => {
    const left = sorted.filter((_, i) => ((taken >> BigInt(i)) & 1n) === 0n);
    const firstReturn = Math.min(...left.map(({ returned }) => returned));
    if (firstReturn === Number.POSITIVE_INFINITY) return true;
    const configuration = `${taken.toString(36)} ${state}`;
    if (visited.has(configuration)) return false;
    visited.add(configuration);
    for (const [i, { operation, invoked }] of sorted.entries()) {
      if (invoked > firstReturn || ((taken >> BigInt(i)) & 1n) === 1n) continue;
      const next = step(state, operation);
      if (next !== undefined && search(next, taken | (1n << BigInt(i)))) return true;
    }
    return false;
  };
  return search(initial, 0n);
}
