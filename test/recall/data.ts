import type { TestContext } from "node:test";
import type { Random } from "../support/random.ts";

export interface DataSet {
  readonly dimension: number;
  readonly vectors: readonly Float32Array[];
  /** Of the same kind, not among the vectors. */
  readonly queries: readonly Float32Array[];
}

export interface Counts {
  readonly vectors: number;
  readonly queries: number;
}

/** Normal in every direction: the hardest data for a graph. `norms`: each vector is given one of these, evenly. */
export function gaussian(random: Random, dimension: number, counts: Counts, norms?: [number, number]): DataSet {
  return generate(dimension, counts, () => {
    const vector = random.vector(dimension);
    if (!norms) return vector;
    const norm = norms[0] + (norms[1] - norms[0]) * random.next();
    const factor = norm / Math.hypot(...vector);
    return vector.map((value) => value * factor);
  });
}

/** Around a hundred centers. */
export function clustered(random: Random, dimension: number, counts: Counts): DataSet {
  const centers = Array.from({ length: 100 }, () => random.vector(dimension));
  return generate(dimension, counts, () => {
    const center = random.pick(centers);
    return random.vector(dimension).map((value, i) => (center[i] as number) + 0.5 * value);
  });
}

/**
 * Word vectors, the queries being words that are left out; undefined, with the reason printed, where the package is not
 * installed. In CI its absence fails the test.
 */
export async function words(t: TestContext, random: Random, counts: Counts): Promise<DataSet | undefined> {
  const read = await readWords(t);
  if (!read) return undefined;
  const all = [...read];
  for (let i = all.length - 1; i > 0; i--) {
    const other = random.below(i + 1);
    [all[i], all[other]] = [all[other] as Float32Array, all[i] as Float32Array];
  }
  const queries = all.slice(0, counts.queries);
  return { dimension: 100, vectors: all.slice(counts.queries, counts.queries + counts.vectors), queries };
}

let wordsRead: readonly Float32Array[] | undefined;

async function readWords(t: TestContext): Promise<readonly Float32Array[] | undefined> {
  try {
    const { readWords: read } = await import("../../demo/words.ts");
    wordsRead ??= read().map(({ data }) => data);
    return wordsRead;
  } catch (error) {
    const reason = "the word vectors of demo/ are not installed (scripts/install demo)";
    if (process.env.CI) throw new Error(reason, { cause: error });
    t.skip(reason);
    return undefined;
  }
}

function generate(dimension: number, { vectors, queries }: Counts, next: () => Float32Array): DataSet {
  return {
    dimension,
    vectors: Array.from({ length: vectors }, next),
    queries: Array.from({ length: queries }, next),
  };
}
