import type { DistanceMetric } from "../../src/engine/engine.ts";

/** The distance of the definition, in float64. */
export function distance(metric: DistanceMetric, a: Float32Array, b: Float32Array): number {
  let dot = 0;
  let squares = 0;
  let aSquares = 0;
  let bSquares = 0;
  for (const [i, x] of a.entries()) {
    const y = b[i] as number;
    dot += x * y;
    squares += (x - y) ** 2;
    aSquares += x * x;
    bSquares += y * y;
  }
  switch (metric) {
    case "cosine":
      return 1 - dot / Math.sqrt(aSquares * bSquares);
    case "euclidean":
      return Math.sqrt(squares);
    case "dot_product":
      return -dot;
  }
}

/** The topK nearest keys of the definition, nearest first, equal distances by key. */
export function exactSearch(
  metric: DistanceMetric,
  vectors: ReadonlyMap<string, Float32Array>,
  query: Float32Array,
  topK: number,
): { key: string; distance: number }[] {
  const all = [...vectors].map(([key, data]) => ({ key, distance: distance(metric, query, data) }));
  all.sort((a, b) => a.distance - b.distance || Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
  return all.slice(0, topK);
}

/** The share of `expected` that `found` holds. */
export function recall(expected: readonly { key: string }[], found: readonly { key: string }[]): number {
  const keys = new Set(found.map(({ key }) => key));
  return expected.filter(({ key }) => keys.has(key)).length / expected.length;
}
