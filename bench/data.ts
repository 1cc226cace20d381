import { readWords } from "../demo/words.ts";
import { Random } from "../test/support/random.ts";
import { collectGarbage } from "./collect-garbage.ts";

/** Filters of 0.1, 50 and 10 percent, and a number. */
export interface Metadata {
  /** 0 to 999, in turns. */
  readonly bucket: number;
  /** 0 or 1, in turns. */
  readonly half: number;
  /** `tag-0` to `tag-9`, in turns. */
  readonly tag: string;
  /** Bytes of the key. */
  readonly len: number;
}

export interface Row {
  readonly key: string;
  readonly data: Float32Array;
  readonly metadata: Metadata;
}

export interface DataSet {
  readonly name: string;
  readonly dimension: number;
  readonly metric: "cosine" | "euclidean";
  readonly rows: readonly Row[];
  /** Of the same kind as the rows, and not among them. */
  readonly queries: readonly Float32Array[];
}

const HELD_OUT = 1_000;

/** GloVe word vectors, 100-d, cosine, the most frequent words first; the last 1,000 words are the queries. */
export function glove(count = Number.POSITIVE_INFINITY, queryCount = HELD_OUT): DataSet {
  const words = readWords();
  // A gigabyte: it would be collected while something is measured.
  collectGarbage();
  const heldOut = words.splice(-HELD_OUT).map(({ data }) => data);
  const queries = heldOut.slice(0, queryCount);
  const rows = words.slice(0, count).map(({ word, data }, i) => rowOf(word, data, i));
  return { name: `glove${shortCount(rows.length)}`, dimension: 100, metric: "cosine", rows, queries };
}

const LATENT = 32;
const CLUSTERS = 200;

/** A mixture of Gaussians in a latent space of 32 dimensions, projected up to 768 with noise; euclidean. */
export function synth768(count = 50_000, queryCount = 500, seed = 768): DataSet {
  const random = new Random(seed);
  const dimension = 768;
  const projection = random.vector(LATENT * dimension);
  const centers = random.vector(CLUSTERS * LATENT);
  const make = () => {
    const center = random.below(CLUSTERS) * LATENT;
    const latent = random.vector(LATENT).map((value, i) => 0.5 * value + (centers[center + i] ?? 0));
    const data = random.vector(dimension).map((value) => 0.1 * value);
    for (let i = 0; i < LATENT; i++) {
      const weight = latent[i] ?? 0;
      for (let j = 0; j < dimension; j++) data[j] = (data[j] ?? 0) + weight * (projection[i * dimension + j] ?? 0);
    }
    return data;
  };
  const rows = Array.from({ length: count }, (_, i) => rowOf(`vector-${i}`, make(), i));
  const queries = Array.from({ length: queryCount }, make);
  return { name: `synth768-${shortCount(count)}`, dimension, metric: "euclidean", rows, queries };
}

/** Clusters in 128 dimensions, euclidean, in any number. */
export function scale(count: number, queryCount = 200, seed = 128): DataSet {
  const random = new Random(seed);
  const dimension = 128;
  const centers = random.vector(1_000 * dimension);
  const make = () => {
    const center = random.below(1_000) * dimension;
    return random.vector(dimension).map((value, i) => value + (centers[center + i] ?? 0));
  };
  const rows = Array.from({ length: count }, (_, i) => rowOf(`vector-${i}`, make(), i));
  const queries = Array.from({ length: queryCount }, make);
  return { name: `scale${shortCount(count)}`, dimension, metric: "euclidean", rows, queries };
}

function rowOf(key: string, data: Float32Array, i: number): Row {
  const metadata = { bucket: i % 1_000, half: i % 2, tag: `tag-${i % 10}`, len: Buffer.byteLength(key) };
  return { key, data, metadata };
}

function shortCount(count: number): string {
  if (count >= 1_000_000) return `${count / 1_000_000}M`;
  return count >= 1_000 ? `${Math.round(count / 1_000)}k` : `${count}`;
}

/** The keys of the nearest rows, by a loop that shares no code with what is measured. */
export function nearestKeys(
  { rows, metric }: DataSet,
  query: Float32Array,
  topK: number,
  isEligible: (metadata: Metadata) => boolean = () => true,
): ReadonlySet<string> {
  const nearest: { key: string; distance: number }[] = [];
  const norm = lengthOf(query);
  for (const { key, data, metadata } of rows) {
    if (!isEligible(metadata)) continue;
    const distance = metric === "cosine" ? -dot(query, data) / (norm * lengthOf(data)) : squaredDistance(query, data);
    const last = nearest.at(-1);
    if (nearest.length === topK && last && distance >= last.distance) continue;
    const at = nearest.findIndex((other) => other.distance > distance);
    nearest.splice(at === -1 ? nearest.length : at, 0, { key, distance });
    if (nearest.length > topK) nearest.pop();
  }
  return new Set(nearest.map(({ key }) => key));
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

function squaredDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += ((a[i] as number) - (b[i] as number)) ** 2;
  return sum;
}

function lengthOf(vector: Float32Array): number {
  return Math.sqrt(dot(vector, vector));
}
