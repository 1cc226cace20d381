/**
 * Loads real word vectors into a Quiver server over gRPC, asks which words are near to some, and measures. Options:
 * --url of the server (default http://127.0.0.1:8080), --words how many to load (default all). Brings the api key in
 * QUIVER_API_KEY.
 */
import { parseArgs } from "node:util";
import { ConnectError } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { type Index, Quiver, reasonOf } from "@quiver/client";
import { Presets, SingleBar } from "cli-progress";
import { readWords, type Word } from "./words.ts";

const BUCKET = "demo";
const INDEX = "words";
const DIMENSION = 100;
const BATCH = 500;
const CALLS_IN_FLIGHT = 4;
const HELD_OUT = 1000;
const TOP_K = 10;
/** Of fewer vectors the server makes no graph to wait for. */
const WORDS_MIN = 5000;
const SHOWN = ["king", "paris", "violin", "monday", "quiver"];

const HELP = `Usage: npm run demo -- [options]

  --url    where the server is (default http://127.0.0.1:8080)
  --words  how many words to load, 5,000 or more (default all, about 340,000)

Replaces the index "${INDEX}" of the bucket "${BUCKET}". On a server with access keys it needs one of the role admin or
read-write in the variable QUIVER_API_KEY; NODE_EXTRA_CA_CERTS names the file of a certificate that you have made yourself.`;

const options = readOptions();
const apiKey = process.env.QUIVER_API_KEY;
const transport = createGrpcTransport({ baseUrl: options.url });
const quiver = new Quiver({ transport, ...(apiKey !== undefined && { apiKey: apiKey.trim() }) });
await run().catch((error: unknown) => {
  if (!(error instanceof ConnectError)) throw error;
  const reason = reasonOf(error);
  if (reason === "CREDENTIALS_MISSING") fail("The server has access keys: put an api key into QUIVER_API_KEY");
  fail(`${reason === undefined ? "The call failed" : "The server refuses"}: ${error.rawMessage}`);
});

async function run(): Promise<void> {
  const isServing = await fetch(`${options.url}/livez`).then(
    ({ ok }) => ok,
    () => false,
  );
  if (!isServing) fail(`No Quiver server answers at ${options.url}: start one with "npm start" in another terminal`);

  const index = quiver.bucket(BUCKET).index(INDEX);
  await createAnew(index);

  console.log("Reading the word vectors (some seconds)");
  const all = readWords();
  const words = all.slice(0, options.words + HELD_OUT);
  const heldOut = words.splice(-HELD_OUT);

  const start = performance.now();
  await load(index, words);
  const acknowledgedSeconds = (performance.now() - start) / 1000;
  console.log(`${words.length} vectors acknowledged: ${rate(words.length, acknowledgedSeconds)}\n`);

  for (const word of SHOWN) await showNeighbors(index, word);

  await waitForGraph(index);
  const graphSeconds = (performance.now() - start) / 1000;
  console.log(`Graph complete: ${rate(words.length, graphSeconds)}\n`);

  await measure(index, heldOut);
  await showMemory(index);
}

function readOptions(): { url: string; words: number } {
  const url = { type: "string", default: "http://127.0.0.1:8080" } as const;
  const words = { type: "string", default: "all" } as const;
  const { values } = parse({ url, words, help: { type: "boolean", default: false } });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const count = values.words === "all" ? Number.MAX_SAFE_INTEGER : Number(values.words);
  if (!Number.isInteger(count) || count < WORDS_MIN)
    fail(`--words must be "all" or ${WORDS_MIN} and more, got "${values.words}"`);
  if (!URL.canParse(values.url)) fail(`--url must be a URL such as ${url.default}, got "${values.url}"`);
  return { url: new URL(values.url).origin, words: count };
}

function parse<const Options extends NonNullable<Parameters<typeof parseArgs>[0]>["options"]>(options: Options) {
  try {
    return parseArgs({ options });
  } catch (error) {
    return fail(`${(error as Error).message}\n${HELP}`);
  }
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

/** Empties what an earlier run has left. */
async function createAnew(index: Index): Promise<void> {
  await quiver.bucket(BUCKET).create().catch(unless("BUCKET_EXISTS"));
  await index.delete().catch(unless("INDEX_NOT_FOUND"));
  await index.create({ dimension: DIMENSION, distanceMetric: "cosine" });
}

function unless(reason: string) {
  return (error: unknown) => {
    if (reasonOf(error) !== reason) throw error;
  };
}

async function load(index: Index, words: readonly Word[]): Promise<void> {
  const bar = progressBar("Loading", words.length);
  let next = 0;
  const loader = async () => {
    for (let from = next; from < words.length; from = next) {
      next = from + BATCH;
      const batch = words.slice(from, next);
      await index.put(batch.map(({ word, data }, i) => ({ key: word, data, metadata: { rank: from + i } })));
      bar.increment(batch.length);
    }
  };
  await Promise.all(Array.from({ length: CALLS_IN_FLIGHT }, loader));
  bar.stop();
}

async function showNeighbors(index: Index, word: string): Promise<void> {
  const [vector] = await index.get([word], { data: true });
  if (!vector?.data) return;
  const { vectors, exact } = await index.query(vector.data, { topK: 8, metadata: false });
  const neighbors = vectors
    .filter(({ key }) => key !== word)
    .map(({ key, distance }) => `${key} ${distance.toFixed(2)}`);
  console.log(`near to "${word}"${exact ? " (exact)" : ""}: ${neighbors.join(", ")}`);
}

async function waitForGraph(index: Index): Promise<void> {
  const { vectorCount } = await index.stats();
  const bar = progressBar("Building the graph", vectorCount);
  for (let unindexed = vectorCount; unindexed > 0; ) {
    unindexed = (await index.stats()).unindexedVectors;
    bar.update(vectorCount - unindexed);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  bar.stop();
}

/** Asks for the neighbors of words that were not loaded, by graph and exactly. */
async function measure(index: Index, queries: readonly Word[]): Promise<void> {
  const bar = progressBar("Measuring", queries.length);
  const milliseconds: number[] = [];
  let found = 0;
  let compared = 0;
  for (const { data } of queries) {
    const before = performance.now();
    const answer = await index.query(data, { topK: TOP_K, metadata: false });
    milliseconds.push(performance.now() - before);
    const exact = await index.query(data, { topK: TOP_K, metadata: false, exact: true });
    const nearest = new Set(exact.vectors.map(({ key }) => key));
    found += answer.vectors.filter(({ key }) => nearest.has(key)).length;
    compared += answer.compared;
    bar.increment();
  }
  bar.stop();
  milliseconds.sort((a, b) => a - b);
  const percentile = (p: number) => `${(milliseconds[Math.floor(p * milliseconds.length)] ?? 0).toFixed(2)} ms`;
  console.log(`recall@${TOP_K} of ${queries.length} held-out words: ${(found / (TOP_K * queries.length)).toFixed(4)}`);
  console.log(
    `query p50 ${percentile(0.5)}, p99 ${percentile(0.99)}, ${Math.round(compared / queries.length)} vectors compared`,
  );
}

async function showMemory(index: Index): Promise<void> {
  const reference = { vectorBucketName: BUCKET, indexName: index.name };
  const { bytes, vectorCount } = await quiver.indexes.getIndexStats(reference);
  if (!bytes) return;
  const mebibytes = (value: bigint) => `${Math.round(Number(value) / 2 ** 20)} MiB`;
  console.log(
    `memory: vectors ${mebibytes(bytes.vectors)}, graph ${mebibytes(bytes.graph)}, keys ${mebibytes(bytes.keys)}` +
      ` (${Math.round(Number(bytes.vectors + bytes.graph + bytes.keys) / Number(vectorCount))} bytes a vector)`,
  );
}

function progressBar(title: string, total: number): SingleBar {
  const format = `${title} [{bar}] {percentage}% {value}/{total}, {eta_formatted} left`;
  const bar = new SingleBar({ format, noTTYOutput: true, notTTYSchedule: 5000, etaBuffer: 200 }, Presets.legacy);
  bar.start(total, 0);
  return bar;
}

function rate(count: number, seconds: number): string {
  return `${seconds.toFixed(1)} s, ${Math.round(count / seconds)} vectors/s`;
}
