import type { Index } from "../../engine/engine.ts";
import { type IndexKind, KIND_TAG, kindOf } from "./index-kind.ts";
import { METRIC_NAMES } from "./metrics.ts";

/**
 * An index as every version of the API describes it: since 2026-07 by schema and deployment, before that by dimension, metric
 * and spec. Clients pass over what they do not know.
 */
export function fromIndex(index: Index, url: string) {
  const kind = kindOf(index);
  const { sparse } = kind;
  const metric = METRIC_NAMES[index.distanceMetric];
  const { [KIND_TAG]: _, ...tags } = index.tags;
  const field = sparse
    ? { _sparse_values: { type: "sparse_vector", metric } }
    : { _values: { type: "dense_vector", dimension: index.dimension, metric } };
  return {
    name: index.index,
    metric,
    ...(sparse ? {} : { dimension: index.dimension }),
    vector_type: sparse ? "sparse" : "dense",
    host: `${url}/pinecone/i/${index.index}`,
    spec: specOf(kind),
    schema: { fields: field },
    deployment: deploymentOf(kind),
    read_capacity: READ_CAPACITY,
    status: { ready: true, state: "Ready" },
    deletion_protection: index.deletionProtection ? "enabled" : "disabled",
    tags,
  };
}

const READ_CAPACITY = Object.freeze({ mode: "OnDemand", status: Object.freeze({ state: "Ready" }) });

function specOf({ spec }: IndexKind) {
  return spec.pod ? spec : { serverless: { ...spec.serverless, read_capacity: READ_CAPACITY } };
}

function deploymentOf({ spec: { pod, serverless } }: IndexKind) {
  if (pod) {
    const { environment, pod_type, replicas, shards } = pod;
    return { deployment_type: "pod", environment, pod_type, replicas, shards };
  }
  return { deployment_type: "managed", ...serverless, environment: serverless?.region };
}
