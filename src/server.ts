import type { Http2Session } from "node:http2";
import { resolve } from "node:path";
import { assertMayListen } from "./assert-may-listen.ts";
import { openAuditLog } from "./audit-log.ts";
import { createFacades } from "./compat/facades.ts";
import { createCompatHandler } from "./compat/handler.ts";
import { createGrpcService } from "./compat/pinecone/grpc-service.ts";
import type { Config } from "./config.ts";
import { openCrashNotes } from "./engine/embedded/crash-notes.ts";
import { openEmbeddedEngine } from "./engine/embedded/embedded-engine.ts";
import { makeDataDirectory } from "./engine/embedded/make-data-directory.ts";
import { defaultMemoryLimit, ProcessMemory } from "./engine/embedded/memory/process-memory.ts";
import { assertMayUse } from "./engine/embedded/storage/assert-may-use.ts";
import type { Engine, Health, Quotas } from "./engine/engine.ts";
import { QuiverError } from "./errors.ts";
import { createCrossSiteCheck } from "./http/cross-site.ts";
import { isLoopback } from "./http/loopback.ts";
import { openPort, type Port } from "./http/port.ts";
import { createRoutes, type Readiness } from "./http/routes.ts";
import { openTlsFiles, type TlsFiles } from "./http/tls-files.ts";
import type { Log } from "./log.ts";
import type { HttpRequest } from "./node-http.ts";
import type { AdmissionLimits } from "./rpc/admission.ts";
import { apiKeyOf } from "./rpc/api-key-header.ts";
import { originOf } from "./rpc/client-address.ts";
import { createRpcHandler } from "./rpc/handler.ts";
import { createHealth } from "./rpc/health.ts";
import { createReflection } from "./rpc/reflection.ts";
import { plainRefusal } from "./rpc/refusal.ts";
import { createServices } from "./rpc/services/all.ts";
import { readSecretsKey } from "./secrets-key-option.ts";
import type { RateLimits } from "./service/rates.ts";
import { createService, type Service } from "./service/service.ts";
import { VERSION } from "./version.ts";

/** A server that is put together but not yet reachable. */
export interface Server {
  /** Opens the port; resolves to its URL. Fails with one clear sentence when the port is taken. */
  listen(): Promise<string>;
  /** Whether everybody who reaches it may do everything. */
  readonly isOpen: boolean;
  /** Looks for new files of TLS now instead of a moment later. */
  reloadTls(): void;
  /** Finishes the calls in flight, within 15 s, and closes the store. */
  close(): Promise<void>;
}

/** After so long, calls in flight are answered with SHUTTING_DOWN; what is still open at the second is cut without an answer. */
const END_MS = 8_000;
const DRAIN_MS = 10_000;

/** From the begin of `close` to the end of saving graphs; the rest of the 15 s is for closing the store. */
const SAVED_MS = 13_000;
/** The same, to the end of waiting for the store: what it acknowledged is on the disk, and its log is read at the next start. */
const CLOSED_MS = 14_000;

/** What tests change of how a server is put together. */
export interface ServerParts {
  /** The clock that signatures of requests are bound to. Default: that of the machine. */
  now?(): number;
  readonly admission?: Partial<AdmissionLimits>;
}

/** Opens the store and puts the parts together. Indexes load in the background. */
export async function buildServer(config: Config, log: Log, parts: ServerParts = {}): Promise<Server> {
  await assertMayUse(resolve(config.data));
  const tls = await readTls(config, log);
  const secretsKey = readSecretsKey(config.secretsKeyFile, process.env);
  const audit = config.auditLog === undefined ? undefined : openAuditLog(resolve(config.auditLog), log);
  const memory = new ProcessMemory(config.memoryLimit > 0 ? config.memoryLimit : defaultMemoryLimit());
  const engine = await openEngine(config, memory, log);
  const shutdown = new AbortController();
  const end = new AbortController();
  const scope = { region: config.region, account: config.account };
  const service = createService(engine, {
    scope,
    rateLimits: ratesOf(config),
    secretsKey,
    onBackgroundError: (message, err) => log.error({ err }, message),
    opensWithoutKeys: config.insecure || isLoopback(config.host),
  });
  try {
    await service.accessKeys.load();
    assertMayListen(config, { hasKeys: !service.accessKeys.isEmpty });
    await service.jobs.resume();
  } catch (error) {
    await engine.close();
    throw error;
  }
  const api = [...createServices(service), createGrpcService(service, { defaultBucket: config.defaultBucket })];
  const health = createHealth({
    services: api.map(({ service }) => service.typeName),
    state: () => readinessOf(engine),
    maySee: (caller, bucket, index) => service.authorizer.may(caller, "GetIndex", { bucket, index }),
  });
  const refuse = createCrossSiteCheck({
    isOpen: () => service.callers.isOpen,
    hosts: config.hosts,
    isBeyondLoopback: config.insecure,
    scheme: tls ? "https" : "http",
    corsOrigins: config.corsOrigins,
  });
  let port: Port | undefined;
  const onLetIn = (connection: Http2Session) => port?.letIn(connection);
  const answerRpc = createRpcHandler({
    refuse,
    services: [...api, health, ...createReflection([...api, health].map(({ service }) => service))],
    log,
    corsOrigins: config.corsOrigins,
    shutdown: shutdown.signal,
    end: end.signal,
    noteCall: openCrashNotes().add,
    limits: callMemory(memory.limit),
    hasRoomFor: (bytes) => memory.hasRoomFor(bytes),
    takeMemory: (bytes) => memory.take(bytes),
    audit,
    identify: (apiKey, origin) => service.callers.identify(apiKey, origin),
    onLetIn,
    ...parts,
  });
  const answerCompat = createCompatHandler({
    facades: createFacades(service, {
      defaultBucket: config.defaultBucket,
      moorchehMaxItems: config.moorchehMaxItems,
      scope,
      now: parts.now ?? Date.now,
    }),
    calls: answerRpc.calls,
    scheme: tls ? "https" : "http",
    refuse,
    onLetIn,
    takeMemory: (bytes) => memory.take(bytes),
    log,
    audit,
  });
  const answerRoute = createRoutes({
    name: "Quiver",
    version: VERSION,
    securesBrowsers: tls !== undefined && !isLoopback(config.host),
    refuse: (request) => {
      const error = refuse(request);
      return error && plainRefusal(error);
    },
    readiness: (request) => readinessFor(isAdmin(service, request), readinessOf(engine)),
  });
  return {
    async listen() {
      port = await openPort({
        host: config.host,
        port: config.port,
        tls: tls?.material,
        limits: { maxConnections: config.maxConnections },
        handler: (request, response) =>
          answerRpc(request, response) || answerCompat(request, response) || answerRoute(request, response),
        turnAway: answerRpc.turnAway,
        log,
      }).catch((error: NodeJS.ErrnoException) => {
        throw listeningFailed(config, error);
      });
      tls?.watch(port.replaceTls);
      if (service.callers.isOpen) logOpen(config, log);
      return port.url;
    },
    get isOpen() {
      return service.callers.isOpen;
    },
    reloadTls() {
      void tls?.reload();
    },
    async close() {
      const startedAt = performance.now();
      const left = (ms: number) => Math.max(0, startedAt + ms - performance.now());
      shutdown.abort();
      const timer = setTimeout(() => end.abort(), END_MS);
      await Promise.all([service.jobs.close(), port?.drain(DRAIN_MS)]);
      clearTimeout(timer);
      tls?.close();
      service.queries.close();
      const closed = engine.close({ withinMs: left(SAVED_MS) });
      const isClosed = await isDoneWithin(closed, left(CLOSED_MS));
      audit?.close();
      if (!isClosed) log.warn("The server ends without closing the store: the time to do so is over");
    },
  };
}

/** Rejects if `work` does so in time. */
async function isDoneWithin(work: Promise<void>, ms: number): Promise<boolean> {
  const timeout = Promise.withResolvers<boolean>();
  const timer = setTimeout(timeout.resolve, ms, false);
  return Promise.race([work.then(() => true), timeout.promise]).finally(() => clearTimeout(timer));
}

const MIB = 1024 * 1024;

/** What calls may take of the memory that the process may hold. */
function callMemory(limit: number) {
  const part = (share: number, least: number, most: number) =>
    Math.min(most, Math.max(least, Math.floor(limit / share)));
  return { maxBufferedBytes: part(16, 32 * MIB, 512 * MIB), maxAnswerBytes: part(8, 64 * MIB, 1024 * MIB) };
}

async function openEngine(config: Config, memory: ProcessMemory, log: Log): Promise<Engine> {
  const path = resolve(config.data);
  await makeDataDirectory(path);
  return openEmbeddedEngine({
    path,
    backups: config.backups === undefined ? undefined : resolve(config.backups),
    memory,
    writeBuffer: config.writeBuffer,
    quotas: quotasOf(config),
    guardsDisk: process.env.QUIVER_TEST_UNGUARDED_DISK !== "true",
    onWarning: (message) => log.warn(message),
    onHealth: (health) => logHealth(log, health),
    onDamage: ({ file, index, error: { reason, message } }) => log.error({ reason, file, index }, message),
    onBackgroundError: (message, err) => log.error({ err }, message),
  }).catch((error: unknown) => {
    if (!(error instanceof QuiverError) || error.reason !== "CORRUPTION") throw error;
    const { message, metadata, cause } = error;
    throw new QuiverError("CORRUPTION", `${message}; \`quiver verify --data\` names every damaged file`, {
      metadata,
      cause,
    });
  });
}

function logHealth(log: Log, { state, problems }: Health): void {
  if (state === "healthy") log.warn("The storage is well again: writes go on");
  else if (state === "read_only") log.error({ err: problems[0] }, "The storage is read-only now");
  else log.error({ problems: problems.map(told) }, "The storage is damaged now");
}

function told({ reason, message }: QuiverError): Readiness["problems"][number] {
  return { reason, message };
}

function quotasOf(config: Config): Quotas {
  return {
    vectors: {
      server: config.maxVectorsPerServer,
      bucket: config.maxVectorsPerBucket,
      index: config.maxVectorsPerIndex,
    },
    bytes: { server: config.maxBytesPerServer, bucket: config.maxBytesPerBucket, index: config.maxBytesPerIndex },
    indexes: { server: config.maxIndexesPerServer, bucket: config.maxIndexesPerBucket },
  };
}

function ratesOf(config: Config): RateLimits {
  return {
    requests: {
      server: config.requestsPerSecond,
      bucket: config.requestsPerSecondPerBucket,
      index: config.requestsPerSecondPerIndex,
    },
    vectors: {
      server: config.vectorsPerSecond,
      bucket: config.vectorsPerSecondPerBucket,
      index: config.vectorsPerSecondPerIndex,
    },
  };
}

/**
 * Ready once every index can answer; an index whose graph is being built answers exactly meanwhile, and reads go on while
 * the storage is read-only.
 */
function readinessOf(engine: Engine): Readiness {
  const states = engine.indexStates();
  const { state, problems } = engine.health;
  return {
    ready: states.every(({ state }) => state !== "loading"),
    storage: state,
    problems: problems.map(told),
    indexes: Object.fromEntries(states.map(({ bucket, index, state }) => [`${bucket}/${index}`, state])),
  };
}

/** Whoever is no administrator learns no name of an index, nor what is wrong with which file. */
function readinessFor(isAdmin: boolean, readiness: Readiness): Readiness {
  return isAdmin ? readiness : { ...readiness, problems: [], indexes: {} };
}

function isAdmin({ callers }: Service, request: HttpRequest): boolean {
  try {
    return callers.identify(apiKeyOf(request.headers), originOf(request.socket)).role === "admin";
  } catch {
    return false;
  }
}

async function readTls({ tlsCert, tlsKey, tlsClientCa }: Config, log: Log): Promise<TlsFiles | undefined> {
  if (tlsCert === undefined || tlsKey === undefined) return undefined;
  return openTlsFiles({ cert: tlsCert, key: tlsKey, clientCa: tlsClientCa }, log);
}

function logOpen({ host }: Config, log: Log): void {
  const what = "There are no access keys, so that everyone who reaches this address may do everything";
  if (isLoopback(host)) log.info({ host }, `${what}: \`quiver keys create\` makes one`);
  else log.warn({ host }, what);
}

function listeningFailed({ host, port }: Config, cause: NodeJS.ErrnoException): QuiverError {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: "the port is taken; stop what uses it or choose another with --port",
    EACCES: "ports below 1024 need privileges; choose another with --port",
    EADDRNOTAVAIL: "this machine has no such address; choose another with --host",
    ENOTFOUND: "the name is unknown; choose another with --host",
  };
  const problem = reasons[cause.code ?? ""] ?? cause.message;
  return new QuiverError("INVALID_FIELD", `Cannot listen on ${host}:${port}: ${problem}`, { cause });
}
