import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as sdk from "@aws-sdk/client-s3vectors";
import { AccessRole } from "../../../gen/quiver/v1/admin_service_pb.ts";
import { SigV4 } from "../../../src/compat/s3vectors/sigv4.ts";
import { QuiverError } from "../../../src/errors.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { type Credentials, s3Client, startSigningServer } from "./support.ts";

interface SignedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What @aws-sdk/client-s3vectors 3.1137.0 sent, signed with secrets that were made up. */
const SIGNED = JSON.parse(
  readFileSync(join(import.meta.dirname, "fixtures/signed-requests.json"), "utf8"),
) as readonly SignedRequest[];
const SECRETS: Readonly<Record<string, string>> = { AKIDEXAMPLE: "secret", a: "b" };
const MINUTE_MS = 60_000;

function timeOf({ headers }: SignedRequest): number {
  return Date.parse((headers["x-amz-date"] ?? "").replace(/(....)(..)(..)T(..)(..)(..)Z/, "$1-$2-$3T$4:$5:$6Z"));
}

/** Whether the request is let in with the secret of its access key. */
function isRight(request: SignedRequest, { secret = "", now = timeOf(request) } = {}): boolean {
  const [path = "", query = ""] = request.url.split("?");
  const signature = new SigV4({ ...request, path, query }, now);
  const candidates = [{ secret: secret || SECRETS[signature.accessKeyId] || "" }];
  return signature.signer(Buffer.from(request.body), candidates) !== undefined;
}

/** Why a request is refused before its signature is compared. */
function refusalOf(request: SignedRequest, now?: number): string {
  try {
    isRight(request, now === undefined ? {} : { now });
  } catch (error) {
    assert.ok(error instanceof QuiverError && error.reason === "CREDENTIALS_INVALID", `${error}`);
    return error.message;
  }
  return assert.fail("It was not refused");
}

test("the signatures that Amazon's client made are right", () => {
  assert.ok(SIGNED.length >= 20);
  assert.ok(SIGNED.some(({ url }) => url.includes("?tagKeys=env&tagKeys=a%20b")));
  for (const request of SIGNED) {
    assert.ok(isRight(request), request.url);
    for (const now of [-15 * MINUTE_MS, 15 * MINUTE_MS]) assert.ok(isRight(request, { now: timeOf(request) + now }));
    assert.ok(!isRight(request, { secret: "another" }), request.url);
  }
});

test("a secret from before a rotation is right as well", () => {
  const [request = assert.fail()] = SIGNED;
  const signature = new SigV4({ ...request, path: request.url, query: "" }, timeOf(request));
  const body = Buffer.from(request.body);
  assert.equal(signature.signer(body, [{ secret: "new" }, { secret: "secret" }])?.secret, "secret");
  assert.equal(signature.signer(body, []), undefined);
});

test("a signature covers all of a request", () => {
  const request = SIGNED.find(({ url }) => url.includes("?")) ?? assert.fail();
  const { headers, url } = request;
  const changed: SignedRequest[] = [
    { ...request, method: "POST" },
    { ...request, url: url.replace("my-bucket", "my-bucket2") },
    { ...request, url: url.replace("tagKeys=env", "tagKeys=other") },
    { ...request, url: `${url}&tagKeys=more` },
    { ...request, headers: { ...headers, host: "elsewhere" } },
    { ...request, headers: { ...headers, "amz-sdk-request": "attempt=2; max=3" } },
  ];
  for (const each of changed) assert.ok(!isRight(each), JSON.stringify(each));
  const [first = assert.fail()] = SIGNED;
  assert.match(refusalOf({ ...first, body: `${first.body} ` }), /does not have the SHA-256/);
  const { "x-amz-content-sha256": _, ...unhashed } = first.headers;
  const signsHash = {
    ...unhashed,
    authorization: first.headers.authorization?.replace("x-amz-content-sha256;", "") ?? "",
  };
  assert.ok(!isRight({ ...first, headers: signsHash }));
});

test("a signature covers the query as it is read: what is no space when it is signed is none when it is served", () => {
  const right = SIGNED.find(({ url }) => url.includes("a%20b")) ?? assert.fail();
  assert.ok(isRight({ ...right, url: right.url.replace("a%20b", "a+b") }));
  assert.ok(!isRight({ ...right, url: right.url.replace("a%20b", "a%2Bb") }));
});

test("what is wrong with a signature is told before its body is asked for", () => {
  const [request = assert.fail()] = SIGNED;
  const { headers } = request;
  const with_ = (changes: Readonly<Record<string, string>>) => ({ ...request, headers: { ...headers, ...changes } });
  const authorization = headers.authorization ?? "";
  const replaced = (from: string, to: string) => with_({ authorization: authorization.replace(from, to) });
  assert.ok(authorization.includes("host;"));
  const cases: readonly [SignedRequest, RegExp][] = [
    [replaced("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), /of the kind AWS4-HMAC-SHA256/],
    [with_({ authorization: "AWS4-HMAC-SHA256" }), /of the kind|Credential must be/],
    [with_({ authorization: "AWS4-HMAC-SHA256 " }), /Credential must be/],
    [replaced("AKIDEXAMPLE/", "/"), /Credential must be/],
    [replaced("/us-east-1/", "//"), /Credential must be/],
    [replaced("/aws4_request", "/aws4_request/x"), /Credential must be/],
    [replaced("/s3vectors/", "/s3/"), /for the service s3vectors/],
    [replaced("/aws4_request", "/aws5_request"), /end in aws4_request/],
    [replaced("/20261121/", "/20261122/"), /the day of x-amz-date/],
    [replaced("/20261121/", "/2026/"), /the day of x-amz-date/],
    [with_({ "x-amz-date": "yesterday" }), /needs the header "x-amz-date"/],
    [with_({ "x-amz-date": "20261321T000000Z" }), /needs the header "x-amz-date"/],
    [replaced("host;", ""), /cover the header "host"/],
    [replaced(";x-amz-date", ""), /cover the header "x-amz-date"/],
    [replaced("host;", "host;x-other;"), /headers that the request does not have/],
    [replaced("host;", "host;constructor;"), /headers that the request does not have/],
    [replaced("host;", "host;__proto__;"), /headers that the request does not have/],
    [replaced("host;", "host;host;"), /covers a header twice/],
    [with_({ "x-amz-security-token": "t" }), /no session tokens/],
    [with_({ "x-amz-content-sha256": "UNSIGNED-PAYLOAD" }), /must cover the body/],
    [with_({ "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" }), /must cover the body/],
    [replaced("Signature=", "Signature=zz"), /64 hexadecimal digits/],
    [with_({ authorization: authorization.replace(/Signature=.*/, "") }), /64 hexadecimal digits/],
  ];
  for (const [each, message] of cases) assert.match(refusalOf(each), message);
  const { "x-amz-date": _, ...undated } = headers;
  assert.match(refusalOf({ ...request, headers: undated }), /x-amz-date/);
  for (const skew of [-1, 1]) {
    assert.match(refusalOf(request, timeOf(request) + skew * (15 * MINUTE_MS + 1)), /more than 15 minutes from/);
  }
});

test("requests of Amazon's client, byte for byte, are let in by a server without keys", async (t) => {
  const url = await startCompatServer(t, [], { now: () => 0 });
  for (const request of SIGNED) {
    const { host: _, "content-length": _length, ...headers } = request.headers;
    const body = request.body === "" ? null : request.body;
    const answer = await fetch(url + request.url.replace("-prefix", ""), { method: request.method, headers, body });
    const type = answer.headers.get("x-amzn-errortype");
    await answer.text();
    assert.ok(type === null || /^(Validation|NotFound|Conflict)Exception$/.test(type), `${request.url}: ${type}`);
  }
});

const list = (client: sdk.S3VectorsClient) => client.send(new sdk.ListVectorBucketsCommand({}));

async function deniedBy(sent: Promise<unknown>): Promise<string> {
  const error = await sent.then(
    () => assert.fail("It was let in"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof sdk.AccessDeniedException, `${error}`);
  assert.deepEqual([error.$metadata.httpStatusCode, error.$metadata.attempts], [403, 1]);
  return error.message;
}

test("a request is let in with the secret of an access key that may sign, and by nothing else", async (t) => {
  const { url, admin, credentials, by, apiKey } = await startSigningServer(t);
  const as = (given: Partial<Credentials> & { sessionToken?: string }) =>
    s3Client(t, url, { credentials: { ...credentials, ...given } });
  await as({}).send(new sdk.CreateVectorBucketCommand({ vectorBucketName: "signed" }));
  for (const region of ["eu-central-1", "anywhere"]) await list(s3Client(t, url, { credentials, region }));
  const resourceArn = "arn:aws:s3vectors:us-east-1:000000000000:bucket/signed";
  await as({}).send(new sdk.TagResourceCommand({ resourceArn, tags: { "a b": "c" } }));
  await as({}).send(new sdk.UntagResourceCommand({ resourceArn, tagKeys: ["a b", "ü+"] }));
  // What is refused for its characters was let in before.
  const odd = as({}).send(new sdk.UntagResourceCommand({ resourceArn, tagKeys: ["*'()!~%"] }));
  await assert.rejects(odd, sdk.ValidationException);
  await list(s3Client(t, `${url}/s3vectors/`, { credentials }));

  const wrong = await deniedBy(list(as({ secretAccessKey: "wrong" })));
  const unknown = await deniedBy(list(as({ accessKeyId: "AKIDEXAMPLE" })));
  assert.equal(wrong, unknown);
  assert.ok(!wrong.includes(credentials.secretAccessKey));
  assert.match(await deniedBy(list(as({ sessionToken: "t" }))), /no session tokens/);

  const unsigning = await admin.createAccessKey({ role: AccessRole.ADMIN }, by);
  const { accessKeyId = "" } = unsigning.accessKey ?? {};
  assert.equal(await deniedBy(list(as({ accessKeyId, secretAccessKey: unsigning.secretAccessKey }))), unknown);

  const post = (headers: Record<string, string>) =>
    fetch(`${url}/ListVectorBuckets`, { method: "POST", body: "{}", headers });
  for (const headers of [{ authorization: `Bearer ${apiKey}` }, { "x-api-key": apiKey }]) {
    assert.equal((await post(headers)).status, 200);
  }
  for (const headers of [{}, { authorization: "Basic eDp5" }, { authorization: "Bearer x" }]) {
    const answer = await post(headers);
    assert.deepEqual([answer.status, answer.headers.get("x-amzn-errortype")], [403, "AccessDeniedException"]);
  }
});

test("a secret from before a rotation is let in as long as it overlaps, and no secret of a deleted key", async (t) => {
  const { url, admin, credentials, by } = await startSigningServer(t);
  const created = await admin.createAccessKey({ role: AccessRole.READ_WRITE, allowSigning: true }, by);
  const { accessKeyId = "" } = created.accessKey ?? {};
  const before = s3Client(t, url, { credentials: { accessKeyId, secretAccessKey: created.secretAccessKey } });
  await list(before);
  const { accessKeys } = await admin.listAccessKeys({ prefix: accessKeyId }, by);
  assert.ok(accessKeys[0]?.lastUseTime !== undefined);
  const rotated = await admin.rotateAccessKey({ accessKeyId, overlapSeconds: 3_600 }, by);
  const after = s3Client(t, url, { credentials: { accessKeyId, secretAccessKey: rotated.secretAccessKey } });
  for (const client of [before, after]) await list(client);
  await admin.rotateAccessKey({ accessKeyId }, by);
  for (const client of [before, after]) await deniedBy(list(client));
  const last = s3Client(t, url, { credentials });
  await list(last);
  await admin.deleteAccessKey({ accessKeyId }, by);
  await deniedBy(list(after));
});

test("a role, a scope and a policy hold for signed requests", async (t) => {
  const { url, admin, credentials, by } = await startSigningServer(t);
  const root = s3Client(t, url, { credentials });
  const definition = { dataType: "float32", dimension: 1, distanceMetric: "euclidean" } as const;
  for (const vectorBucketName of ["mine", "theirs"]) {
    await root.send(new sdk.CreateVectorBucketCommand({ vectorBucketName }));
    await root.send(new sdk.CreateIndexCommand({ vectorBucketName, indexName: "main", ...definition }));
  }
  const { accessKey, secretAccessKey } = await admin.createAccessKey(
    { role: AccessRole.READ_ONLY, allowSigning: true, scopes: [{ vectorBucketName: "mine" }] },
    by,
  );
  const { accessKeyId = "" } = accessKey ?? {};
  const reader = s3Client(t, url, { credentials: { accessKeyId, secretAccessKey } });
  const mine = { vectorBucketName: "mine", indexName: "main" };
  const query = { ...mine, topK: 1, queryVector: { float32: [0] } };
  assert.deepEqual(
    (await list(reader)).vectorBuckets?.map(({ vectorBucketName }) => vectorBucketName),
    ["mine"],
  );
  await reader.send(new sdk.QueryVectorsCommand({ ...query, returnMetadata: true }));
  const vectors = [{ key: "k", data: { float32: [1] } }];
  assert.match(await deniedBy(reader.send(new sdk.PutVectorsCommand({ ...mine, vectors }))), /PutVectors/);
  for (const vectorBucketName of ["theirs", "absent"]) {
    await deniedBy(reader.send(new sdk.ListVectorsCommand({ ...mine, vectorBucketName })));
  }
  const policy = JSON.stringify({
    Version: "2012-10-17",
    Statement: [
      {
        Effect: "Deny",
        Principal: { AWS: `arn:aws:iam::000000000000:user/${accessKeyId}` },
        Action: "s3vectors:GetVectors",
        Resource: "arn:aws:s3vectors:us-east-1:000000000000:bucket/mine/index/*",
      },
    ],
  });
  await root.send(new sdk.PutVectorBucketPolicyCommand({ vectorBucketName: "mine", policy }));
  await reader.send(new sdk.QueryVectorsCommand(query));
  await reader.send(new sdk.ListVectorsCommand(mine));
  const reads = [
    reader.send(new sdk.QueryVectorsCommand({ ...query, returnMetadata: true })),
    reader.send(new sdk.QueryVectorsCommand({ ...query, filter: { a: 1 } })),
    reader.send(new sdk.ListVectorsCommand({ ...mine, returnData: true })),
    reader.send(new sdk.ListVectorsCommand({ ...mine, returnMetadata: true })),
    reader.send(new sdk.GetVectorsCommand({ ...mine, keys: ["k"] })),
  ];
  for (const read of reads) assert.match(await deniedBy(read), /denies GetVectors/);
});

test("the server's clock decides how old a signature may be", async (t) => {
  let now = Date.now();
  const { url, credentials } = await startSigningServer(t, { now: () => now });
  await list(s3Client(t, url, { credentials }));
  for (const skew of [-16 * MINUTE_MS, 16 * MINUTE_MS]) {
    now = Date.now() + skew;
    assert.match(await deniedBy(list(s3Client(t, url, { credentials }))), /more than 15 minutes from/);
  }
});
