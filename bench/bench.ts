/** Measures Quiver beside its ceilings and its peers, on the same data in one run: see docs/performance.md. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { connectEcho, hnswlibNode, http2Echo, rawGraph, rawRocksdb } from "./ceilings.ts";
import { type DataSet, glove, scale, synth768 } from "./data.ts";
import { PEERS } from "./peers/all.ts";
import type { OpenPeer } from "./peers/peer.ts";
import { settle } from "./processor.ts";
import { runBatches, runConnect, runCores, runMixed, runRestart, withQuiver } from "./quiver-workloads.ts";
import { type Line, toMarkdown } from "./table.ts";
import { insertAll, type PeerFigures, runPeer, runQueries, Truth } from "./workloads.ts";

const SECTIONS = ["main", "mixed", "wide", "growth"] as const;

/** Peers with a server: the others run in the process of their caller, and sync no insert. */
const SERVERS: ReadonlySet<string> = new Set(["pgvector", "chroma"]);

const HELP = `Usage: npm run bench -- [options]

  --short      a tenth of the data, in less than five minutes
  --peers      with which peers, separated by commas, or "none" (default ${Object.keys(PEERS).join(",")})
  --sections   what to run, separated by commas (default ${SECTIONS.join(",")})
  --json       the file for all figures (default data/bench.json)`;

const options = readOptions();
const lines: Line[] = [];
const figures: Record<string, unknown> = { machine: machine(), commit: commit(), options };
for (const section of options.sections) {
  console.log(`\n${section}`);
  switch (section) {
    case "main":
      await runMain(options.short ? glove(10_000, 100) : glove(100_000));
      break;
    case "mixed":
      await runMixedSection(options.short ? glove(40_000, 200) : glove(200_000));
      break;
    case "wide":
      await runWide(synth768(options.short ? 5_000 : 50_000));
      break;
    case "growth":
      await runGrowth(options.short ? [10_000, 30_000] : [100_000, 1_000_000]);
      break;
    default:
      fail(`--sections: there is no "${section}"\n${HELP}`);
  }
}
mkdirSync(dirname(options.json), { recursive: true });
writeFileSync(options.json, `${JSON.stringify({ ...figures, lines }, undefined, 2)}\n`);
console.log(`\n${machine()}, commit ${commit()}\n\n${toMarkdown(lines)}`);

async function runMain(data: DataSet): Promise<void> {
  const truth = new Truth(data);
  const ours = await withQuiver(data, async (server) => {
    const peer = say(await runPeer(server, data, truth));
    const { efSearch } = peer.query;
    const connectNodeMs = {
      grpc: await runConnect(server, "grpc", data, efSearch),
      connect: await runConnect(server, "connect", data, efSearch),
    };
    const batch = await runBatches(server, data, efSearch);
    const cores = await runCores(server, data, efSearch);
    const restartSeconds = await runRestart(server, data, efSearch);
    return say({ peer, connectNodeMs, batch, cores, restartSeconds });
  });
  const { peer } = ours;
  const raw = say(await rawGraph(data, peer.query.efSearch));
  const node = say(await hnswlibNode(data, peer.query.efSearch));
  const connectMs = say(await connectEcho(data.dimension)).callMs;
  const http2Ms = say(await http2Echo(4 * data.dimension)).callMs;
  const rocksdb = await inDirectory((directory) => rawRocksdb(data, directory));
  const peers = await runPeers(data, truth);
  figures[data.name] = { ours, raw, node, connectMs, http2Ms, rocksdb, peers };

  const on = `${data.name}:`;
  const raw_ = { name: "raw hnswlib", value: raw.queryMs };
  const others = Object.entries(peers).filter(([, other]) => other.query.recall >= 0.95);
  for (const [name, { query }] of others) {
    const bound = name === "pgvector" ? 0.4 : undefined;
    lines.push(
      line(`${on} query over gRPC, client and server`, peer.query.processorMs, "ms", bound, {
        name,
        value: query.processorMs,
      }),
    );
  }
  lines.push(
    line(`${on} query over gRPC, client and server`, peer.query.processorMs, "ms", 3.5, raw_),
    line(`${on} query over gRPC with connect-node, client and server`, ours.connectNodeMs.grpc, "ms", undefined, raw_),
    line(`${on} query over Connect on HTTP/2, client and server`, ours.connectNodeMs.connect, "ms", 3.5, raw_),
    line(`${on} query in batches of 100, client and server`, ours.batch.processorMs, "ms", 1.3, raw_),
    line(`${on} server beyond the search itself`, peer.query.serverMs - raw.queryMs, "ms", 0.15),
    line(`${on} query over gRPC, client and server`, peer.query.processorMs, "ms", undefined, {
      name: "hnswlib-node",
      value: node.queryMs,
    }),
    line(`${on} a call beyond the search, with connect-node`, ours.connectNodeMs.grpc - raw.queryMs, "ms", undefined, {
      name: "connect-node echo",
      value: connectMs,
    }),
    line(`${on} a call beyond the search, client and server`, peer.query.processorMs - raw.queryMs, "ms", undefined, {
      name: "HTTP/2 echo",
      value: http2Ms,
    }),
    atLeast(`${on} queries a second with two cores`, ours.cores.two, "1/s", 1.7, {
      name: "one core",
      value: ours.cores.one,
    }),
    line(`${on} until the graph is complete, for 100,000 vectors`, peer.buildSeconds, "CPU s", 1.2, {
      name: "raw hnswlib",
      value: raw.buildSeconds,
    }),
    atLeast(`${on} puts acknowledged in batches of 500`, peer.insertsPerSecond, "1/s", undefined, {
      name: "raw RocksDB",
      value: rocksdb.insertsPerSecond,
    }),
    line(`${on} restart to the first answer`, ours.restartSeconds, "s", data.rows.length > 50_000 ? 1 : 0.8),
  );
  for (const [name, theirs] of Object.entries(peers)) {
    for (const [filter, figure] of Object.entries(peer.filtered)) {
      const other = theirs.filtered[filter];
      if (other === undefined || other.recall < 0.95) continue;
      const value = other.processorMs;
      const bound = name === "pgvector" || name === "zvec" ? 1 : undefined;
      lines.push(line(`${on} query with a filter of ${filter}`, figure.processorMs, "ms", bound, { name, value }));
    }
    lines.push(
      atLeast(
        `${on} puts acknowledged in batches of 500`,
        peer.insertsPerSecond,
        "1/s",
        SERVERS.has(name) ? 10 : undefined,
        {
          name,
          value: theirs.insertsPerSecond,
        },
      ),
      atLeast(`${on} get by key`, peer.getsPerSecond, "1/s", name === "pgvector" ? 1 : undefined, {
        name,
        value: theirs.getsPerSecond,
      }),
      atLeast(`${on} list`, peer.listedPerSecond, "1/s", name === "pgvector" ? 1 : undefined, {
        name,
        value: theirs.listedPerSecond,
      }),
    );
  }
  const least = Math.min(peer.query.recall, ...Object.values(peer.filtered).map(({ recall }) => recall));
  lines.push(atLeast(`${on} the least recall@10 of all queries above`, least, "", 0.95));
}

async function runMixedSection(data: DataSet): Promise<void> {
  const mixed = say(await runMixed(data, 64));
  figures.mixed = mixed;
  lines.push(
    line(`${data.name}: p99 of queries while vectors are put at full speed`, mixed.busyP99Ms, "ms", 5, {
      name: "nothing else",
      value: mixed.idleP99Ms,
    }),
    line(`${data.name}: lag of the event loop meanwhile, p99`, mixed.lag.p99, "ms", 20),
    line(`${data.name}: lag of the event loop meanwhile, most`, mixed.lag.max, "ms", 250),
  );
}

async function runWide(data: DataSet): Promise<void> {
  const ours = await withQuiver(data, async (server) => {
    const { seconds } = await insertAll(server, data);
    await server.complete();
    await server.restart();
    return say({
      insertsPerSecond: data.rows.length / seconds,
      diskPerVector: (await server.diskBytes()) / data.rows.length,
    });
  });
  const raw = 4 * data.dimension + Buffer.byteLength(JSON.stringify(data.rows[0]?.metadata));
  lines.push(
    line(`${data.name}: disk of a vector`, ours.diskPerVector, "B", 1.3, { name: "float32 and metadata", value: raw }),
  );
  const peers: Record<string, number> = {};
  for (const [name, open] of chosenPeers()) {
    const value = await withPeer(
      name,
      open,
      data,
      async (peer) => data.rows.length / (await insertAll(peer, data)).seconds,
    );
    if (value === undefined) continue;
    peers[name] = value;
    lines.push(
      atLeast(
        `${data.name}: puts acknowledged in batches of 500`,
        ours.insertsPerSecond,
        "1/s",
        SERVERS.has(name) ? 5 : undefined,
        {
          name,
          value,
        },
      ),
    );
  }
  figures[data.name] = { ours, peers };
}

async function runGrowth(counts: readonly number[]): Promise<void> {
  const sizes = [];
  for (const count of counts) {
    const data = scale(count);
    const truth = new Truth(data);
    sizes.push(
      await withQuiver(data, async (server) => {
        const inserted = await insertAll(server, data);
        await server.complete();
        await settle(() => server.processorSeconds());
        const query = await runQueries(server, data, truth);
        return say({
          putMs: (inserted.processorSeconds / count) * 1_000,
          query,
          restartSeconds: await runRestart(server, data, query.efSearch),
          // After the restart: without what inserts have left behind.
          residentBytes: (await server.probe()).residentBytes,
        });
      }),
    );
  }
  const [least = 0, most = 0] = counts;
  const raw = say(await rawGraph(scale(least), sizes[0]?.query.efSearch ?? 0));
  figures.growth = { sizes, raw };
  const [small, large] = sizes;
  if (small === undefined || large === undefined) return;
  const on = `scale, ${counts.join(" to ")}:`;
  const name = "the smaller";
  // Between the sizes: what a server holds without vectors is more than 10,000 of them.
  const memory = (large.residentBytes - small.residentBytes) / (most - least);
  lines.push(
    line(`${on} query, processor time`, large.query.processorMs, "ms", 2, { name, value: small.query.processorMs }),
    line(`${on} put until acknowledged, processor time`, large.putMs, "ms", 1.6, { name, value: small.putMs }),
    line(`${on} memory of a vector between them`, memory, "B", 1.35, {
      name: "raw hnswlib",
      value: raw.bytesPerVector,
    }),
    line(`${on} restart to the first answer of the larger`, large.restartSeconds, "s", 10),
  );
}

async function runPeers(data: DataSet, truth: Truth): Promise<Record<string, PeerFigures>> {
  const all: Record<string, PeerFigures> = {};
  for (const [name, open] of chosenPeers()) {
    const one = await withPeer(name, open, data, (peer) => runPeer(peer, data, truth));
    if (one !== undefined) all[name] = say(one);
  }
  return all;
}

function chosenPeers(): readonly (readonly [string, OpenPeer])[] {
  return Object.entries(PEERS).filter(([name]) => options.peers.includes(name));
}

/** Undefined, and a line that says why, when this machine cannot have the peer. */
async function withPeer<T>(
  name: string,
  open: OpenPeer,
  { dimension, metric }: DataSet,
  work: (peer: Awaited<ReturnType<OpenPeer>>) => Promise<T>,
): Promise<T | undefined> {
  return inDirectory(async (directory) => {
    const peer = await open({ dimension, metric, directory }).catch((error: Error) => {
      console.log(`  ${name} is left out: ${error.message}`);
    });
    if (!peer) return undefined;
    try {
      return await work(peer);
    } finally {
      await peer.close();
    }
  });
}

async function inDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "quiver-bench-"));
  try {
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Without a bound it is told for comparison. */
function line(what: string, quiver: number, unit: string, atMost?: number, against?: Line["against"]): Line {
  return { what, quiver, unit, ...(against && { against }), ...(atMost !== undefined && { reach: { atMost } }) };
}

/** Without a bound it is told for comparison. */
function atLeast(what: string, quiver: number, unit: string, bound?: number, against?: Line["against"]): Line {
  const reach = bound === undefined ? undefined : { atLeast: bound };
  return { what, quiver, unit, ...(against && { against }), ...(reach && { reach }) };
}

function say<T>(result: T): T {
  console.log(
    `  ${JSON.stringify(result, (_, value) => (typeof value === "number" ? Number(value.toPrecision(4)) : value))}`,
  );
  return result;
}

function machine(): string {
  const [cpu] = cpus();
  return `${cpus().length} x ${cpu?.model ?? "unknown processor"}, Node ${process.version}`;
}

function commit(): string {
  return execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        short: { type: "boolean", default: false },
        peers: { type: "string", default: Object.keys(PEERS).join(",") },
        sections: { type: "string", default: SECTIONS.join(",") },
        json: { type: "string", default: "data/bench.json" },
        help: { type: "boolean", default: false },
      },
    });
    if (values.help) {
      console.log(HELP);
      process.exit(0);
    }
    return { ...values, peers: values.peers.split(","), sections: values.sections.split(",") };
  } catch (error) {
    return fail(`${(error as Error).message}\n${HELP}`);
  }
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}
