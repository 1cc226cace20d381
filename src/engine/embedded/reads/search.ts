import { setImmediate } from "node:timers/promises";
import { clearBit, intersect, ordinalsOf } from "../../../filter/bitmap.ts";
import type { SparseData } from "../../engine.ts";
import { compareKeys } from "../key-order.ts";
import type { Found, VectorSet } from "../set/vector-set.ts";
import { kthLeast } from "../sparse/sparse-index.ts";
import { nearest, type SearchAnswer, type SearchRequest, searchDense } from "./dense-search.ts";

/** Ordinals looked at before other work has its turn. */
const TURN_ORDINALS = 20_000;

/** Searches one set for one target. */
export function searchSet(set: VectorSet, request: SearchRequest): Promise<SearchAnswer> {
  const { data, sparse } = request.target;
  if (sparse && data) return searchHybrid(set, request, { data, sparse });
  if (sparse) return searchSparse(set, request, sparse);
  return searchDense(set, request);
}

async function searchSparse(set: VectorSet, request: SearchRequest, sparse: SparseData): Promise<SearchAnswer> {
  const { topK } = request;
  const index = set.sparse;
  if (!index) return { found: [], plan: { strategy: "exact", compared: 0, exact: true } };
  const { ordinals, distances, compared, apart } = await index.search(sparse, {
    eligible: eligibleOf(set, request),
    k: topK,
  });
  const near = toFound(set, ordinals, distances);
  const nearer = near.filter(({ distance }) => distance < 0).length;
  const zeros = nearer < topK ? await firstByKey(set, apart, topK) : [];
  return { found: nearest([...near, ...zeros], topK), plan: { strategy: "exact", compared, exact: true } };
}

/** Exact for vectors that share a position with the sparse part; the others are found by their data alone. */
async function searchHybrid(
  set: VectorSet,
  request: SearchRequest,
  { data, sparse }: { readonly data: Float32Array; readonly sparse: SparseData },
): Promise<SearchAnswer> {
  const { topK, target } = request;
  const denseWeight = target.denseWeight ?? 1;
  const sparseWeight = target.denseWeight === undefined ? 1 : 1 - target.denseWeight;
  const rest = eligibleOf(set, request);
  const sharing = await set.sparse?.search(sparse, { eligible: rest, k: undefined });
  const ordinals = sharing?.ordinals ?? new Uint32Array();
  for (const ordinal of ordinals) clearBit(rest, ordinal);

  const dense = await set.distances(data, ordinals);
  const distances = dense.map((denseDistance, i) => {
    const densePart = Number.isNaN(denseDistance) ? 0 : partOf(denseWeight, denseDistance);
    const sum = densePart + partOf(sparseWeight, distanceAt(sharing, i));
    // Both infinite, with different signs: farthest away, as the native distances have it.
    return Number.isNaN(sum) ? Number.POSITIVE_INFINITY : sum + 0;
  });
  // Keys are looked up only for what may be answered: most vectors may share a position.
  const bound = kthLeast(distances, topK);
  const isNear = (i: number) => (distances[i] as number) <= bound;
  const near = toFound(
    set,
    ordinals.filter((_, i) => isNear(i)),
    distances.filter((_, i) => isNear(i)),
  );

  const byData = { ...request, target: { ...target, sparse: undefined }, allowed: rest };
  const others =
    denseWeight === 0
      ? { found: [], plan: { strategy: "exact" as const, compared: 0, exact: true } }
      : await searchDense(set, byData);
  const weighted = others.found.map((each) => ({ ...each, distance: Math.fround(denseWeight * each.distance) + 0 }));
  // What has no data is at distance 0, as is everything when data counts nothing.
  const zeros = rest.slice();
  if (denseWeight !== 0) for (let i = 0; i < zeros.length; i++) zeros[i] = (zeros[i] ?? 0) & ~(set.withData[i] ?? 0);
  const found = [...near, ...weighted, ...(await firstByKey(set, zeros, topK))];
  const compared = ordinals.length + others.plan.compared;
  return { found: nearest(found, topK), plan: { ...others.plan, compared } };
}

/** A part without weight counts nothing, infinite or not. */
function partOf(weight: number, distance: number): number {
  return weight === 0 ? 0 : weight * distance;
}

function distanceAt(results: { readonly distances: Float32Array } | undefined, i: number): number {
  return results?.distances[i] ?? 0;
}

/** A copy: the live ordinals that may be answered. */
function eligibleOf(set: VectorSet, { allowed, target }: SearchRequest): Uint32Array {
  const eligible = (allowed ?? set.live).slice();
  if (allowed) intersect(eligible, set.live);
  const except = target.except === undefined ? undefined : set.ordinalOf(target.except);
  if (except !== undefined) clearBit(eligible, except);
  return eligible;
}

function toFound(set: VectorSet, ordinals: Uint32Array, distances?: Float32Array): Found[] {
  const found: Found[] = [];
  for (const [i, ordinal] of ordinals.entries()) {
    const each = set.found(ordinal, distances?.[i] ?? 0);
    if (each) found.push(each);
  }
  return found;
}

/** The first `count` by key of a bitmap's vectors, at distance 0. */
async function firstByKey(set: VectorSet, bitmap: Uint32Array, count: number): Promise<Found[]> {
  let first: Found[] = [];
  const ordinals = ordinalsOf(bitmap);
  for (let at = 0; at < ordinals.length; at += TURN_ORDINALS) {
    if (at > 0) await setImmediate();
    const some = toFound(set, ordinals.subarray(at, at + TURN_ORDINALS));
    const last = first.length >= count ? first.at(-1)?.key : undefined;
    const better = last === undefined ? some : some.filter(({ key }) => compareKeys(key, last) < 0);
    if (better.length > 0) first = nearest([...first, ...better], count);
  }
  return first;
}
