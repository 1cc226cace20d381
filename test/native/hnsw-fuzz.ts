/**
 * Calls everything of the native graph with random arguments, some of them right: `node hnsw-fuzz.ts <seed> <calls>`.
 * Prints how many calls threw and returned; fails when an error has no code.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createGraph, type Graph, loadGraph } from "../../native/hnsw.ts";
import { Random } from "../support/random.ts";

const random = new Random(Number(process.argv[2]));
const calls = Number(process.argv[3]);
const directory = mkdtempSync(join(tmpdir(), "quiver-fuzz-"));
process.chdir(directory); // files with random names land there
const codes = ["INVALID_ARGUMENT", "DISPOSED", "CORRUPTION", "IO_ERROR", "OUT_OF_MEMORY"];
const numbers = [
  0,
  1,
  2,
  3,
  4,
  7,
  16,
  100,
  -1,
  0.5,
  257,
  20_000,
  1_000_000,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  1e300,
  Number.NaN,
  -0,
];
const floats = [0, 1, -1, 0.5, 3e38, -3e38, 1e-45, Number.NaN, Number.POSITIVE_INFINITY];

function detached(): Float32Array {
  const array = new Float32Array(8);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

function ordinals(): Uint32Array {
  const spread = random.pick([10, 1_000, 2 ** 32]);
  return Uint32Array.from({ length: random.below(6) }, () => random.below(spread));
}

function floatsOf(length: number): Float32Array {
  if (random.next() < 0.1) return Float32Array.from({ length }, () => random.pick(floats));
  return random.vector(length);
}

function anything(): unknown {
  return random.pick<() => unknown>([
    () => undefined,
    () => null,
    () => random.pick(numbers),
    () => random.pick(["", "x", "cosine", "\0", join(directory, "file"), "ä".repeat(5_000)]),
    () => random.next() < 0.5,
    () => 10n ** 30n,
    () => Symbol("s"),
    () => () => 1,
    () => [1, 2, 3],
    () => new Date(),
    () => new Proxy({}, { get: () => random.pick(numbers) }),
    ordinals,
    () => floatsOf(random.below(20)),
    () => new Float64Array(4),
    () => new Uint8Array(8),
    () => new Float32Array(new SharedArrayBuffer(16)),
    () => new Uint32Array(new SharedArrayBuffer(16)),
    () => new Float32Array(new ArrayBuffer(16, { maxByteLength: 64 })),
    detached,
    () => new DataView(new ArrayBuffer(8)),
    () => graphOptions(),
    () => searchOptions(),
  ])();
}

/** Mostly `right`, sometimes anything. */
function mostly(right: () => unknown): unknown {
  return random.next() < 0.9 ? right() : anything();
}

function graphOptions(): unknown {
  return {
    dimension: mostly(() => random.pick([1, 2, 3, 4, 4, 4])),
    metric: mostly(() => random.pick(["cosine", "euclidean", "dot_product"])),
    ...(random.next() < 0.3 ? { m: mostly(() => random.pick([2, 16, 256])) } : {}),
    ...(random.next() < 0.3 ? { efConstruction: mostly(() => random.pick([8, 200, 4_096])) } : {}),
    ...(random.next() < 0.3 ? { seed: mostly(() => random.below(2 ** 32)) } : {}),
  };
}

function searchOptions(): unknown {
  return {
    k: mostly(() => random.pick([1, 2, 10, 20_000])),
    ...(random.next() < 0.3 ? { efSearch: mostly(() => random.pick([1, 64, 100_000])) } : {}),
    ...(random.next() < 0.3 ? { exact: mostly(() => random.next() < 0.5) } : {}),
    ...(random.next() < 0.3 ? { allowed: mostly(ordinals) } : {}),
    ...(random.next() < 0.1 ? { without: mostly(ordinals) } : {}),
    ...(random.next() < 0.3 ? { visitBudget: mostly(() => random.pick([1, 10, 2 ** 32 - 1])) } : {}),
  };
}

function argumentsOf(name: string, dimension: number): unknown[] {
  const some = ordinals();
  const count = random.pick([0, 1, 1, 1, 2, 50]);
  switch (name) {
    case "add":
      return [mostly(() => some), mostly(() => floatsOf(some.length * dimension))];
    case "remove":
      return [mostly(ordinals)];
    case "get":
      return [mostly(() => random.below(10))];
    case "build":
      return [mostly(() => random.pick([1, 3, 1_000])), mostly(() => random.pick([undefined, 1, 2, 256]))];
    case "search":
    case "searchHere":
      return [mostly(() => floatsOf(count * dimension)), mostly(searchOptions)];
    case "distances":
      return [mostly(() => floatsOf(dimension)), mostly(ordinals)];
    case "save":
      return [mostly(() => join(directory, random.pick(["file", "other"])))];
    default:
      return random.next() < 0.2 ? [anything(), anything()] : [];
  }
}

const called = new Set<string>();
const graphs: { graph: Graph; dimension: number }[] = [];
let threw = 0;
let returned = 0;
const pending: Promise<void>[] = [];

function failed(error: unknown): void {
  assert.ok(error instanceof Error && codes.includes((error as { code?: string }).code ?? ""), String(error));
  threw++;
}

async function settle(result: unknown, dimension: number): Promise<void> {
  try {
    const value = await result;
    returned++;
    if (value && typeof (value as Graph).build === "function") graphs.push({ graph: value as Graph, dimension });
  } catch (error) {
    failed(error);
  }
}

for (let call = 0; call < calls; call++) {
  const chosen = graphs.length > 0 ? random.pick(graphs) : undefined;
  const options = mostly(graphOptions);
  const dimension = chosen?.dimension ?? 4;
  const wanted = (options as { dimension?: unknown } | null | undefined)?.dimension;
  const asked = typeof wanted === "number" ? wanted : 4;
  const names = ["add", "add", "add", "remove", "get", "build", "search", "search", "searchHere", "distances", "stats"];
  if (random.next() < 0.3) names.push("save");
  const anyName = random.pick(
    chosen && graphs.length < 10 ? [...names, "create", "load"] : chosen ? [...names, "dispose"] : ["create"],
  );
  // Few calls come to it by chance, after many graphs were made at first.
  const name = call === 0 ? "load" : anyName;
  called.add(name);
  try {
    if (name === "create") {
      pending.push(settle((createGraph as (options: unknown) => Graph)(options), asked));
    } else if (name === "load") {
      const path = mostly(() => join(directory, random.pick(["file", "other"])));
      pending.push(settle((loadGraph as (path: unknown, options: unknown) => Promise<Graph>)(path, options), asked));
    } else if (chosen) {
      const method = chosen.graph[name as keyof Graph] as (...args: unknown[]) => unknown;
      pending.push(settle(Reflect.apply(method, chosen.graph, argumentsOf(name, dimension)), dimension));
      if (name === "dispose" && random.next() < 0.8) graphs.splice(graphs.indexOf(chosen), 1);
    }
  } catch (error) {
    failed(error);
  }
  if (pending.length >= 30) await Promise.all(pending.splice(0));
}
await Promise.all(pending);
rmSync(directory, { recursive: true, force: true });
console.log(JSON.stringify({ threw, returned, called: [...called].sort() }));
