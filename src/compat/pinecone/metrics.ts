import type { DistanceMetric } from "../../engine/engine.ts";

/** The names of the distance metrics. */
export const METRIC_NAMES = Object.freeze({
  cosine: "cosine",
  euclidean: "euclidean",
  dot_product: "dotproduct",
} as const satisfies Record<DistanceMetric, string>);

/** The distance metrics by their names. */
export const METRICS: ReadonlyMap<string, DistanceMetric> = new Map(
  Object.entries(METRIC_NAMES).map(([metric, name]) => [name, metric as DistanceMetric]),
);
