import { invalidField } from "../../errors.ts";
import type { Caller } from "../../service/access/caller.ts";
import type { FacadeAnswer, FacadeRequest } from "../facade.ts";
import { JsonFields } from "../json-fields.ts";
import { PLAIN_QUERY } from "../plain-requests.ts";
import { indexOf, type MoorchehContext } from "./context.ts";
import { labelOf, rounded, toScore } from "./convert.ts";
import { inNamespace } from "./errors.ts";
import { MOORCHEH_LIMITS } from "./limits.ts";
import { noText } from "./text.ts";

interface Search {
  readonly data: Float32Array;
  readonly namespaces: readonly string[];
  readonly topK: number;
  /** The least score of a result. */
  readonly threshold: number;
}

/** The nearest vectors of all named namespaces together. */
export async function search(context: MoorchehContext, request: FacadeRequest): Promise<FacadeAnswer> {
  const startedAt = performance.now();
  const asked = readSearch(context, new JsonFields(request.body));
  request.note(context.bucket);
  const results = [];
  // One after the other: a search holds one place among the calls, however many namespaces it names.
  for (const namespace of asked.namespaces) {
    results.push(...(await searchOne(context, request.caller, namespace, asked)));
  }
  results.sort((a, b) => b.score - a.score);
  const seconds = (performance.now() - startedAt) / 1_000;
  return {
    status: 200,
    body: {
      results: results
        .map((result) => ({ ...result, score: rounded(result.score) }))
        .filter(({ score }) => score >= asked.threshold)
        .slice(0, asked.topK)
        .map(({ id, score, ...rest }) => ({ id, score, label: labelOf(score), ...rest })),
      execution_time: seconds,
      timings: { total: seconds },
    },
  };
}

async function searchOne(context: MoorchehContext, caller: Caller, namespace: string, { data, topK }: Search) {
  const { vectors, distanceMetric } = await inNamespace(namespace, () =>
    context.service.queries.query(caller, {
      ...PLAIN_QUERY,
      ...indexOf(context, namespace),
      namespace: "",
      data,
      topK,
      projection: { data: false, metadata: true },
      returnDistance: true,
    }),
  );
  return vectors.map(({ key, distance, metadata }) => ({
    id: key,
    score: toScore(distance, distanceMetric),
    metadata,
    text: "",
    namespace,
  }));
}

function readSearch({ api }: MoorchehContext, body: JsonFields): Search {
  if (typeof body.value("query") === "string") throw noText("A query by text");
  const data = body.floats("query");
  if (data === undefined) throw invalidField("query", "Must be a list of numbers");
  const namespaces = [...new Set(body.strings("namespaces"))];
  const max = MOORCHEH_LIMITS.searchNamespacesMax;
  if (namespaces.length < 1 || namespaces.length > max) {
    throw invalidField("namespaces", `Must be 1 to ${max} namespaces, got ${namespaces.length}`);
  }
  const { topKMin, topKMax, topKDefault } = MOORCHEH_LIMITS;
  const topK = Math.min(topKMax, Math.max(topKMin, body.integer("top_k") ?? topKDefault));
  const threshold = body.number("threshold") ?? 0;
  if (threshold < 0 || threshold > 1) throw invalidField("threshold", `Must be 0 to 1, got ${threshold}`);
  // The cloud looks at the threshold in kiosk mode only.
  const isBounded = body.boolean("kiosk_mode") === true || api === "on-prem";
  return { data, namespaces, topK, threshold: isBounded ? threshold : 0 };
}
