import assert from "node:assert/strict";
import { test } from "node:test";
import type { SignedRequest } from "../../../src/compat/oss/oss4.ts";
import { assertContentMd5, verifyOss4 } from "../../../src/compat/oss/oss4.ts";
import { QuiverError } from "../../../src/errors.ts";
import type { SigningSecret } from "../../../src/service/access/access-keys.ts";
import { CAPTURED, CAPTURED_AT, CAPTURED_KEY, type CapturedRequest } from "./fixtures.ts";

const MINUTE_MS = 60_000;

function secretOf(secret: string): SigningSecret {
  return { secret, credential: { keyId: secret, role: "admin", scopes: [], signal: new AbortController().signal } };
}

const RIGHT = secretOf(CAPTURED_KEY.secret);
const known = (id: string) => (id === CAPTURED_KEY.id ? [RIGHT] : []);

function requestOf({ head: [first = "", ...lines] }: CapturedRequest): SignedRequest {
  const [method = "", target = ""] = first.split(" ");
  const url = new URL(target);
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 2)]),
  );
  const isOfBucket = url.hostname.startsWith("my-bucket-123.");
  return {
    method,
    query: url.search.slice(1),
    headers,
    bucket: isOfBucket ? { name: "my-bucket", account: "123" } : undefined,
  };
}

function captured(name: string): SignedRequest {
  return requestOf(CAPTURED.find((each) => each.name === name) ?? assert.fail(name));
}

function refusalOf(request: SignedRequest, now = CAPTURED_AT, secretsOf: typeof known = known): string {
  try {
    verifyOss4(request, secretsOf, now);
  } catch (error) {
    assert.ok(error instanceof QuiverError && error.reason === "CREDENTIALS_INVALID", `${error}`);
    return `${error.metadata.ossCode}`;
  }
  return "";
}

function withHeader(request: SignedRequest, name: string, value: string | undefined): SignedRequest {
  return { ...request, headers: { ...request.headers, [name]: value } };
}

test("the signatures that the official client has sent are right", () => {
  assert.equal(CAPTURED.length, 26);
  for (const each of CAPTURED) {
    assert.equal(verifyOss4(requestOf(each), known, CAPTURED_AT), RIGHT, each.name);
    assertContentMd5(requestOf(each).headers, Buffer.from(each.body));
  }
});

test("a signature is wrong for any other request", () => {
  const request = captured("ListVectorIndexes");
  const { authorization = "" } = request.headers;
  const others: Readonly<Record<string, SignedRequest>> = {
    method: { ...request, method: "PUT" },
    "sub-resource": { ...request, query: "deleteVectorIndex=" },
    parameter: { ...request, query: "listVectorIndexes=&x=1" },
    bucket: { ...request, bucket: { name: "my-bucket2", account: "123" } },
    account: { ...request, bucket: { name: "my-bucket", account: "124" } },
    "no bucket": { ...request, bucket: undefined },
    type: withHeader(request, "content-type", "application/octet-stream"),
    digest: withHeader(request, "content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
    "no digest": { ...request, headers: { ...request.headers, "content-md5": undefined } },
    "another header": withHeader(request, "x-oss-bucket-tagging", "a=b"),
    second: withHeader(request, "x-oss-date", "20261121T023238Z"),
    region: withHeader(request, "authorization", authorization.replace("cn-hangzhou", "cn-beijing")),
    "additional header": withHeader(request, "authorization", authorization.replace(",", ",AdditionalHeaders=host,")),
    signature: withHeader(
      request,
      "authorization",
      `${authorization.slice(0, -1)}${authorization.endsWith("0") ? "1" : "0"}`,
    ),
  };
  assert.equal(refusalOf(request), "");
  for (const [what, other] of Object.entries(others)) assert.equal(refusalOf(other), "SignatureDoesNotMatch", what);
});

test("the order of parameters and an equals sign before nothing do not matter", () => {
  const request = captured("ListVectorBuckets");
  assert.equal(request.query, "max-keys=10&prefix=my");
  assert.equal(refusalOf({ ...request, query: "prefix=my&max-keys=10" }), "");
  assert.equal(refusalOf({ ...captured("GetVectors"), query: "getVectors" }), "");
});

test("any secret of the access key is right, and tells whose it is", () => {
  const request = captured("GetVectors");
  const others = [secretOf("OTHER"), RIGHT];
  assert.equal(
    verifyOss4(request, () => others, CAPTURED_AT),
    RIGHT,
  );
  assert.equal(
    verifyOss4(request, () => others.toReversed(), CAPTURED_AT),
    RIGHT,
  );
  assert.equal(
    refusalOf(request, CAPTURED_AT, () => [secretOf("OTHER"), secretOf("")]),
    "SignatureDoesNotMatch",
  );
  assert.equal(
    refusalOf(request, CAPTURED_AT, () => []),
    "InvalidAccessKeyId",
  );
});

test("a signature holds for 15 minutes before and after its time", () => {
  const request = captured("ListVectorBuckets");
  for (const sign of [-1, 1]) {
    assert.equal(refusalOf(request, CAPTURED_AT + sign * 15 * MINUTE_MS), "");
    assert.equal(refusalOf(request, CAPTURED_AT + sign * (15 * MINUTE_MS + 1)), "RequestTimeTooSkewed");
  }
});

test("what is no signature of OSS is refused by name", () => {
  const request = captured("GetVectors");
  const { authorization = "" } = request.headers;
  const malformed = [
    "OSS4-HMAC-SHA256",
    authorization.replace("/oss/", "/s3/"),
    authorization.replace("aliyun_v4_request", "aws4_request"),
    authorization.replace("20261121", "2026112"),
    authorization.replace(/Signature=.*/, "Signature=00"),
    authorization.toUpperCase(),
    `${authorization},`,
    authorization.replace("Credential=AKID", "Credential="),
  ];
  for (const header of malformed) {
    assert.equal(refusalOf(withHeader(request, "authorization", header)), "InvalidArgument", header);
  }
  const hashed = withHeader(request, "x-oss-content-sha256", "0".repeat(64));
  assert.equal(refusalOf(hashed), "InvalidArgument");
  for (const date of [
    undefined,
    "",
    "20261121T0232Z",
    "20261121T027237Z",
    "20261120T023237Z",
    "2026-11-21T02:32:37Z",
  ]) {
    assert.equal(refusalOf(withHeader(request, "x-oss-date", date)), "AccessDenied", date);
  }
});

test("a body that is not the one of its digest is refused, and one without a digest is not", () => {
  const headers = { "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==" };
  assertContentMd5(headers, Buffer.alloc(0));
  assertContentMd5({}, Buffer.from("x"));
  assert.throws(() => assertContentMd5(headers, Buffer.from("x")), { metadata: { ossCode: "InvalidDigest" } });
});
