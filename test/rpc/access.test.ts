import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { type DescMethod, type DescService, fromJson, type JsonObject, type Message } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { Health } from "../../gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../../gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1Alpha } from "../../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { VectorService as PineconeService } from "../../gen/pinecone/vector_service_pb.ts";
import { AccessRole } from "../../gen/quiver/v1/admin_service_pb.ts";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { type Clients, createClients, PROTOCOLS, SERVICES } from "../support/protocols.ts";
import { failureOf } from "../support/resources.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { ACCESS_ROWS, type AccessRow, aboutOthers, JOB, MINE, OTHERS } from "./access-rows.ts";

const ALL_SERVICES: readonly DescService[] = [
  ...SERVICES,
  PineconeService,
  Health,
  ServerReflection,
  ServerReflectionV1Alpha,
];
const METHODS = ALL_SERVICES.flatMap((service) => service.methods);
/** "OK": whatever it is answered with, it is let in. */
type Outcome = "OK" | "CREDENTIALS_MISSING" | "CREDENTIALS_INVALID" | "NOT_ALLOWED" | "JOB_NOT_FOUND";
type Headers = Readonly<Record<string, string>>;
type Judge = (row: AccessRow) => Outcome;

const LEVELS = ["anything", "part of bucket", "part of index", "namespace", "index", "bucket", "server"] as const;
const ROLES = ["read-only", "read-write", "admin"] as const;

/** What a key of this role may do, whose scope is as wide as this. */
const may =
  (role: (typeof ROLES)[number], width: (typeof LEVELS)[number]): Judge =>
  (row) => {
    if (row.role === "everybody") return "OK";
    const isEnough =
      ROLES.indexOf(role) >= ROLES.indexOf(row.role) && LEVELS.indexOf(width) >= LEVELS.indexOf(row.about);
    if (isEnough) return "OK";
    return row.deniedAs && LEVELS.indexOf(width) < LEVELS.indexOf(row.about) ? row.deniedAs : "NOT_ALLOWED";
  };
const never =
  (outcome: Outcome): Judge =>
  ({ role }) =>
    role === "everybody" ? "OK" : outcome;

interface Credential {
  readonly headers: Headers;
  readonly judge: Judge;
  /** The same about a bucket that is not in its scope. */
  readonly judgeOthers: Judge;
}

let server: ServerProcess;
let admin: Headers;
let jobs: { readonly mine: string; readonly others: string };
const credentials = new Map<string, Credential>();

const bearer = (apiKey: string): Headers => ({ authorization: `Bearer ${apiKey}` });
const transportOf = (protocol: string) => (PROTOCOLS[protocol] as (typeof PROTOCOLS)[string])(server.url);
const setUpTransport = () => transportOf("Connect with protobuf");

before(async () => {
  server = await ServerProcess.start(temporaryDirectory(), ["--default-bucket", MINE.bucket]);
  const open = createClients(setUpTransport());
  const first = await open.admin.createAccessKey({ role: AccessRole.ADMIN });
  admin = bearer(first.apiKey);
  jobs = { mine: await fill(open, MINE), others: await fill(open, OTHERS) };

  const create = async (options: Parameters<Clients["admin"]["createAccessKey"]>[0]) =>
    open.admin.createAccessKey(options, { headers: admin });
  const add = (name: string, headers: Headers, judge: Judge, judgeOthers = judge) =>
    credentials.set(name, { headers, judge, judgeOthers });
  const { READ_ONLY, READ_WRITE, ADMIN } = AccessRole;

  add("none", {}, never("CREDENTIALS_MISSING"));
  add("no api key", bearer("nonsense"), never("CREDENTIALS_INVALID"));
  add("another scheme", { authorization: "Basic YTpi" }, never("CREDENTIALS_INVALID"));
  add(
    "a wrong secret",
    bearer(`${first.apiKey.slice(0, -1)}${first.apiKey.endsWith("a") ? "b" : "a"}`),
    never("CREDENTIALS_INVALID"),
  );
  add(
    "an unknown key",
    bearer(first.apiKey.replace(first.accessKey?.accessKeyId ?? "", "QKAAAAAAAAAAAAAAAAAA")),
    never("CREDENTIALS_INVALID"),
  );
  add("two that differ", { ...admin, "api-key": (await create({ role: ADMIN })).apiKey }, never("CREDENTIALS_INVALID"));

  const revoked = await create({ role: ADMIN });
  await open.admin.deleteAccessKey({ accessKeyId: revoked.accessKey?.accessKeyId ?? "" }, { headers: admin });
  add("a revoked key", bearer(revoked.apiKey), never("CREDENTIALS_INVALID"));
  const rotated = await create({ role: ADMIN });
  const rotation = await open.admin.rotateAccessKey(
    { accessKeyId: rotated.accessKey?.accessKeyId ?? "" },
    { headers: admin },
  );
  add("a secret that was rotated away", bearer(rotated.apiKey), never("CREDENTIALS_INVALID"));
  add("an admin's rotated secret, as x-api-key", { "x-api-key": rotation.apiKey }, may("admin", "server"));
  const expireTime = { seconds: BigInt(Math.floor(Date.now() / 1_000) + 1), nanos: 0 };
  const expiring = await create({ role: ADMIN, expireTime });
  add("an expired key", bearer(expiring.apiKey), never("CREDENTIALS_INVALID"));

  add("admin", admin, may("admin", "server"));
  const roles = [
    ["read-only", READ_ONLY],
    ["read-write", READ_WRITE],
  ] as const;
  for (const [name, role] of roles) {
    add(name, bearer((await create({ role })).apiKey), may(name, "server"));
    const scopes = [
      ["bucket", { vectorBucketName: MINE.bucket }],
      ["index", { vectorBucketName: MINE.bucket, indexName: "i*" }],
      ["namespace", { vectorBucketName: "min*", indexName: MINE.index, namespace: MINE.namespace }],
      ["part of bucket", { vectorBucketName: MINE.bucket, indexName: "elsewhere" }],
    ] as const;
    for (const [width, scope] of scopes) {
      const { apiKey } = await create({ role, scopes: [scope] });
      add(`${name} for ${JSON.stringify(scope)}`, { "api-key": apiKey }, may(name, width), may(name, "anything"));
    }
  }
  const isOver = () =>
    failureOf(
      open.admin.getServerInfo({}, { headers: bearer(expiring.apiKey) }),
      Code.Unauthenticated,
      "CREDENTIALS_INVALID",
    );
  await until(() =>
    isOver().then(
      () => true,
      () => false,
    ),
  );
});
after(() => server.kill());

suite("who may call what", () => {
  test("every method of every service has a row, and every row a method", () => {
    const names = METHODS.map(nameOf).sort();
    assert.deepEqual(Object.keys(ACCESS_ROWS).sort(), names);
  });

  for (const protocol of Object.keys(PROTOCOLS)) {
    test(`with every credential, over ${protocol}`, async (t) => {
      const transport = transportOf(protocol);
      let calls = 0;
      const wrong: string[] = [];
      for (const [name, { headers, judge, judgeOthers }] of credentials) {
        for (const method of METHODS) {
          // Connect over HTTP/1.1 and gRPC-Web cannot carry both directions at once.
          if (method.methodKind === "bidi_streaming" && protocol !== "gRPC" && protocol !== "Connect with protobuf")
            continue;
          if (method.methodKind === "client_streaming" && protocol === "gRPC-Web") continue;
          const row = ACCESS_ROWS[nameOf(method)] as AccessRow;
          const places = [
            [row.request, jobs.mine, judge(row)],
            [aboutOthers(row.request), jobs.others, judgeOthers(row)],
          ] as const;
          const own = row.ofDefaultBucket ? { ...headers, "service-name": MINE.index } : headers;
          for (const [request, job, expected] of row.ofDefaultBucket ? places.slice(0, 1) : places) {
            const outcome = await outcomeOf(transport, method, request, { job, headers: own });
            const what = `${nameOf(method)} ${JSON.stringify(request)} with ${name}`;
            if (outcome !== expected) wrong.push(`${what}: ${outcome}, not ${expected}`);
            calls++;
          }
        }
      }
      assert.deepEqual(wrong, []);
      t.diagnostic(`${calls} calls: ${METHODS.length} methods, ${credentials.size} credentials, 2 places`);
    });
  }
});

function nameOf({ parent, name }: DescMethod): string {
  return `${parent.typeName}/${name}`;
}

/** Calls and leaves: a stream after its first message. */
async function outcomeOf(
  transport: Transport,
  method: DescMethod,
  json: JsonObject,
  { job, headers }: { readonly job: string; readonly headers: Headers },
): Promise<Outcome> {
  const request = fromJson(method.input, JSON.parse(JSON.stringify(json).replace(`"${JOB}"`, `"${job}"`)));
  const client = createClient(method.parent, transport) as unknown as Record<string, (...args: unknown[]) => unknown>;
  const call = client[method.localName] as (input: unknown, options: object) => unknown;
  const leaving = new AbortController();
  const options = { headers, signal: leaving.signal };
  const input =
    method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming" ? once(request) : request;
  try {
    const answer = call.call(client, input, options);
    if (method.methodKind === "unary" || method.methodKind === "client_streaming") await answer;
    else await (answer as AsyncIterable<Message>)[Symbol.asyncIterator]().next();
    return "OK";
  } catch (error) {
    const reason = ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason;
    const isRefused = ["CREDENTIALS_MISSING", "CREDENTIALS_INVALID", "NOT_ALLOWED", "JOB_NOT_FOUND"].includes(
      `${reason}`,
    );
    assert.ok(reason !== undefined, `${nameOf(method)}: ${error}`);
    assert.notEqual(reason, "INTERNAL");
    return isRefused ? (reason as Outcome) : "OK";
  } finally {
    leaving.abort();
  }
}

async function* once<T>(item: T): AsyncGenerator<T> {
  yield item;
}

/** Makes what the rows are about, by the set-up's admin; answers the id of a finished job. */
async function fill(clients: Clients, { bucket, index, namespace }: typeof MINE | typeof OTHERS): Promise<string> {
  const options = { headers: admin };
  const place = { vectorBucketName: bucket, indexName: index, namespace };
  await clients.buckets.createVectorBucket({ vectorBucketName: bucket }, options);
  await clients.indexes.createIndex(
    {
      vectorBucketName: bucket,
      indexName: index,
      dimension: 2,
      dataType: DataType.FLOAT32,
      distanceMetric: DistanceMetric.EUCLIDEAN,
      deletionProtection: true,
    },
    options,
  );
  const vectors = [{ key: "k", data: { float32: [1, 2] } }];
  const { job } = await clients.jobs.startUpload({ ...place, vectors }, options);
  const jobId = job?.jobId ?? "";
  for await (const _ of clients.jobs.watchJob({ jobId }, options));
  return jobId;
}
