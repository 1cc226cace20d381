import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { suite, test } from "node:test";
import { QuiverError } from "../../src/errors.ts";
import { ACTIONS, type Action, ruleOf } from "../../src/service/access/actions.ts";
import { parsePolicy } from "../../src/service/access/parse-policy.ts";
import { type Decision, decide, type PolicyRequest } from "../../src/service/access/policy.ts";
import { restsAfter, Wildcard } from "../../src/service/access/wildcard.ts";

const SCOPE = { region: "us-east-1", account: "000000000000" };
const BUCKET = "papers";
const BUCKET_ARN = "arn:aws:s3vectors:us-east-1:000000000000:bucket/papers";
const INDEX_ARN = `${BUCKET_ARN}/index/drafts`;
const NOW = Date.parse("2026-06-15T12:00:00Z");

/** Overrides for a query of the index "drafts" by the key "website" over TLS. */
type Asked = Partial<Omit<PolicyRequest, "resource">> & { resource?: Partial<PolicyRequest["resource"]> };

function request({ resource, ...asked }: Asked = {}): PolicyRequest {
  return {
    action: "QueryVectors",
    keyId: "website",
    address: "10.1.2.3",
    secure: true,
    at: NOW,
    ...asked,
    resource: { bucket: BUCKET, ...(resource ?? { index: "drafts", namespace: "" }) },
  };
}

const BUCKET_ITSELF = { action: "GetVectorBucket", resource: {} } as const;

type Json = Record<string, unknown>;

/** A statement that allows everybody everything, with `changes`; undefined removes a member. */
function iam(changes: Json, ...others: Json[]): string {
  const statements = [changes, ...others].map((each) => ({
    Effect: "Allow",
    Principal: "*",
    ...("NotAction" in each ? {} : { Action: "*" }),
    ...("NotResource" in each ? {} : { Resource: "*" }),
    ...each,
  }));
  return JSON.stringify({ Version: "2012-10-17", Statement: statements });
}

function oss(changes: Json): string {
  const statement = { Effect: "Allow", Principal: ["*"], Action: ["ossvector:*"], Resource: ["*"], ...changes };
  return JSON.stringify({ Version: "1", Statement: [statement] });
}

function ask(policy: string, asked?: Asked): Decision {
  return decide(parsePolicy(policy, SCOPE, BUCKET), request(asked));
}

function condition(operator: string, key: string, value: unknown): string {
  return iam({ Condition: { [operator]: { [key]: value } } });
}

suite("what a policy decides", () => {
  const deny = { Effect: "Deny", Action: "s3vectors:Query*" };
  const nowhere = { resource: {} };
  const rows: [string, string, Asked | undefined, Decision][] = [
    ["an empty policy says nothing", '{"Version":"2012-10-17","Statement":[]}', undefined, undefined],
    ["an empty policy of OSS says nothing", '{"Version":"1","Statement":[]}', undefined, undefined],
    ["what allows everything allows", iam({}), undefined, "allow"],
    ["what denies everything denies", iam({ Effect: "Deny" }), undefined, "deny"],
    ["a denial after an allowance wins", iam({}, deny), undefined, "deny"],
    ["a denial before an allowance wins", iam(deny, {}), undefined, "deny"],
    ["a denial of something else leaves the allowance", iam(deny, {}), { action: "PutVectors" }, "allow"],
    ["nothing is said on another bucket", iam({}), { resource: { bucket: "other", index: "drafts" } }, undefined],
    ["nothing is said on the server", iam({}), { action: "CreateBackup", resource: {} }, undefined],

    ["a key by its identifier", iam({ Principal: { AWS: "website" } }), undefined, "allow"],
    ["another key", iam({ Principal: { AWS: "web" } }), undefined, undefined],
    ["keys are case-sensitive", iam({ Principal: { AWS: "Website" } }), undefined, undefined],
    ["one of several keys", iam({ Principal: { AWS: ["a", "website"] } }), undefined, "allow"],
    ["a user", iam({ Principal: { AWS: "arn:aws:iam::000000000000:user/website" } }), undefined, "allow"],
    ["another user", iam({ Principal: { AWS: "arn:aws:iam::000000000000:user/a" } }), undefined, undefined],
    ["the account", iam({ Principal: { AWS: "000000000000" } }), undefined, "allow"],
    ["the account's root", iam({ Principal: { AWS: "arn:aws:iam::000000000000:root" } }), undefined, "allow"],
    ["everybody among others", iam({ Principal: { AWS: ["a", "*"] } }), undefined, "allow"],

    ["an action", iam({ Action: "s3vectors:QueryVectors" }), undefined, "allow"],
    ["an action in another case", iam({ Action: "S3Vectors:queryVECTORS" }), undefined, "allow"],
    ["another action", iam({ Action: "s3vectors:GetVectors" }), undefined, undefined],
    ["a wildcard in an action", iam({ Action: "s3vectors:Q?ery*" }), undefined, "allow"],
    ["one of several actions", iam({ Action: ["s3vectors:Get*", "s3vectors:*Vectors"] }), undefined, "allow"],
    ["all but an action", iam({ NotAction: "s3vectors:QueryVectors" }), undefined, undefined],
    ["all but another action", iam({ NotAction: "s3vectors:Get*" }), undefined, "allow"],

    ["an index", iam({ Resource: INDEX_ARN }), undefined, "allow"],
    ["another index", iam({ Resource: `${BUCKET_ARN}/index/other` }), undefined, undefined],
    ["every index", iam({ Resource: `${BUCKET_ARN}/*` }), undefined, "allow"],
    ["every index is not the bucket", iam({ Resource: `${BUCKET_ARN}/*` }), BUCKET_ITSELF, undefined],
    ["the bucket", iam({ Resource: BUCKET_ARN }), BUCKET_ITSELF, "allow"],
    ["the bucket is not its indexes", iam({ Resource: BUCKET_ARN }), undefined, undefined],
    ["a star goes over slashes", iam({ Resource: `${BUCKET_ARN}*` }), undefined, "allow"],
    ["a start of a name", iam({ Resource: `${BUCKET_ARN}/index/dr*` }), undefined, "allow"],
    ["a question mark", iam({ Resource: `${BUCKET_ARN}/index/draf??` }), undefined, "allow"],
    ["a question mark is one character", iam({ Resource: `${BUCKET_ARN}/index/drafts?` }), undefined, undefined],
    ["names are case-sensitive", iam({ Resource: `${BUCKET_ARN}/index/Drafts` }), undefined, undefined],
    ["any region and account", iam({ Resource: "arn:aws:s3vectors:*:*:bucket/*" }), undefined, "allow"],
    ["all but an index", iam({ NotResource: INDEX_ARN }), undefined, undefined],
    ["all but another index", iam({ NotResource: `${BUCKET_ARN}/index/o*` }), undefined, "allow"],
    ["an action on the bucket, asked with an index", iam({ Resource: BUCKET_ARN }), { action: "ListIndexes" }, "allow"],
    ["a tag of the bucket", iam({ Resource: BUCKET_ARN }), { action: "TagResource", ...nowhere }, "allow"],
    ["a tag of an index", iam({ Resource: BUCKET_ARN }), { action: "TagResource" }, undefined],

    ["a time before", condition("DateLessThan", "aws:CurrentTime", "2026-06-15T12:00:00.001Z"), undefined, "allow"],
    ["no time before", condition("DateLessThan", "aws:CurrentTime", "2026-06-15T12:00:00Z"), undefined, undefined],
    ["a time after", condition("DateGreaterThan", "aws:CurrentTime", "2026-06-15"), undefined, "allow"],
    ["no time after", condition("DateGreaterThan", "aws:CurrentTime", "2026-06-15T12:00:00Z"), undefined, undefined],
    [
      "a time elsewhere",
      condition("DateLessThan", "aws:CurrentTime", "2026-06-15T14:00:00+02:30"),
      undefined,
      undefined,
    ],
    [
      "one of two times",
      condition("DateLessThan", "aws:CurrentTime", ["2020-01-01", "2030-01-01"]),
      undefined,
      "allow",
    ],
    ["TLS", condition("Bool", "aws:SecureTransport", "true"), undefined, "allow"],
    ["no TLS", condition("Bool", "aws:SecureTransport", false), undefined, undefined],
    ["TLS or not", condition("Bool", "aws:SecureTransport", [true, "false"]), { secure: false }, "allow"],
    ["the key as a condition", condition("StringEquals", "AWS:UserName", ["a", "website"]), undefined, "allow"],
    [
      "not the key as a condition",
      condition("StringNotEquals", "aws:username", ["a", "website"]),
      undefined,
      undefined,
    ],
    ["a start of the key", condition("StringLike", "aws:username", "w?b*"), undefined, "allow"],
    ["not a start of the key", condition("StringNotLike", "aws:username", ["a*", "b*"]), undefined, "allow"],
    [
      "all conditions hold",
      iam({ Condition: { Bool: { "aws:SecureTransport": "true" }, StringLike: { "aws:username": "*" } } }),
      undefined,
      "allow",
    ],
    [
      "one condition does not hold",
      iam({ Condition: { Bool: { "aws:SecureTransport": "true" }, StringLike: { "aws:username": "a*" } } }),
      undefined,
      undefined,
    ],
  ];
  for (const [what, policy, asked, expected] of rows) {
    test(what, () => assert.equal(ask(policy, asked), expected));
  }
});

suite("a condition on the namespace", () => {
  const at = (namespace: string | undefined): Asked => ({
    resource: { index: "drafts", ...(namespace === undefined ? {} : { namespace }) },
  });
  const rows: [operator: string, value: unknown, namespace: string | undefined, holds: boolean][] = [
    ["StringEquals", "a", "a", true],
    ["StringEquals", "a", "b", false],
    ["StringEquals", "a", "", false],
    ["StringEquals", "a", undefined, false],
    ["StringEquals", "", "", true],
    ["StringEquals", "__default__", "", true],
    ["StringEquals", "", undefined, false],
    ["StringNotEquals", "a", "a", false],
    ["StringNotEquals", "a", "", true],
    ["StringNotEquals", ["a", "b"], "b", false],
    ["StringNotEquals", "a", undefined, true],
    ["StringLike", "*", "", true],
    ["StringLike", "?", "", false],
    ["StringLike", "*", undefined, false],
    ["StringLike", "t-*-?", "t-1-2", true],
    ["StringNotLike", "*", undefined, true],
    ["StringNotLike", ["t-*", "u-*"], "u-1", false],
  ];
  for (const [operator, value, namespace, holds] of rows) {
    test(`${operator} ${JSON.stringify(value)} ${holds ? "holds" : "does not hold"} for ${namespace ?? "none"}`, () => {
      assert.equal(ask(condition(operator, "s3vectors:namespace", value), at(namespace)), holds ? "allow" : undefined);
    });
  }
});

suite("a condition on the address", () => {
  const rows: [ranges: string | string[], address: string, isIn: boolean][] = [
    ["10.1.2.3", "10.1.2.3", true],
    ["10.1.2.3", "10.1.2.4", false],
    ["10.0.0.0/8", "10.255.255.255", true],
    ["10.0.0.0/8", "11.0.0.0", false],
    ["10.9.9.9/8", "10.1.2.3", true],
    ["0.0.0.0/0", "255.1.2.3", true],
    ["10.0.0.0/8", "::ffff:10.1.2.3", true],
    ["10.0.0.0/8", "::FFFF:a01:203", true],
    ["10.0.0.0/8", "::10.1.2.3", false],
    ["::/0", "10.1.2.3", false],
    ["::/0", "::ffff:10.1.2.3", false],
    ["::/0", "2001:db8::1", true],
    ["0.0.0.0/0", "2001:db8::1", false],
    ["2001:db8::/33", "2001:db8:7fff::1", true],
    ["2001:db8::/33", "2001:db8:8000::1", false],
    ["2001:DB8::1/128", "2001:db8:0:0::1", true],
    ["fe80::/10", "fe80::1%eth0", true],
    [["10.0.0.0/8", "fd00::/8"], "fd12::1", true],
    ["0.0.0.0/0", "", false],
  ];
  for (const [ranges, address, isIn] of rows) {
    test(`${address || "none"} is ${isIn ? "" : "not "}in ${ranges}`, () => {
      assert.equal(ask(condition("IpAddress", "aws:SourceIp", ranges), { address }), isIn ? "allow" : undefined);
      assert.equal(ask(condition("NotIpAddress", "aws:SourceIp", ranges), { address }), isIn ? undefined : "allow");
    });
  }
});

suite("the language of OSS", () => {
  const rows: [string, string, Asked | undefined, Decision][] = [
    ["a query", oss({ Action: "ossvector:QueryVectors" }), undefined, "allow"],
    ["a query by the other prefix", oss({ Action: "oss:queryvectors" }), undefined, "allow"],
    [
      "PutVectorBucket",
      oss({ Action: "oss:PutVectorBucket" }),
      { action: "CreateVectorBucket", resource: {} },
      "allow",
    ],
    [
      "PutBucketPolicy",
      oss({ Action: "oss:PutBucketPolicy" }),
      { action: "PutVectorBucketPolicy", resource: {} },
      "allow",
    ],
    [
      "GetBucketPolicy",
      oss({ Action: "oss:GetBucketPolicy" }),
      { action: "GetVectorBucketPolicy", resource: {} },
      "allow",
    ],
    [
      "DeleteBucketPolicy",
      oss({ Action: "oss:DeleteBucketPolicy" }),
      { action: "DeleteVectorBucketPolicy", resource: {} },
      "allow",
    ],
    ["PutVectorIndex", oss({ Action: "oss:PutVectorIndex" }), { action: "CreateIndex" }, "allow"],
    ["GetVectorIndex", oss({ Action: "oss:GetVectorIndex" }), { action: "GetIndex" }, "allow"],
    ["ListVectorIndexes", oss({ Action: "oss:ListVectorIndexes" }), { action: "ListIndexes", resource: {} }, "allow"],
    ["DeleteVectorIndex", oss({ Action: "oss:DeleteVectorIndex" }), { action: "DeleteIndex" }, "allow"],
    ["a wildcard is over the names of OSS", oss({ Action: "oss:PutVector*" }), { action: "CreateIndex" }, "allow"],
    [
      "and not over others of the same action",
      oss({ Action: "oss:PutVector*" }),
      { action: "PutVectorBucketPolicy", resource: {} },
      undefined,
    ],
    ["an action that OSS does not have", oss({ Action: "oss:UpdateVectors" }), { action: "UpdateVectors" }, "allow"],
    ["a key", oss({ Principal: ["website"] }), undefined, "allow"],
    ["another key", oss({ Principal: ["a"] }), undefined, undefined],
    ["the account", oss({ Principal: ["000000000000"] }), undefined, "allow"],
    ["an index", oss({ Resource: ["acs:ossvector:us-east-1:000000000000:papers/drafts"] }), undefined, "allow"],
    ["every index", oss({ Resource: ["acs:ossvector:*:*:papers/*"] }), undefined, "allow"],
    ["every index is not the bucket", oss({ Resource: ["acs:ossvector:*:*:papers/*"] }), BUCKET_ITSELF, undefined],
    ["the bucket", oss({ Resource: ["acs:ossvector:*:*:papers"] }), BUCKET_ITSELF, "allow"],
    ["every bucket and index", oss({ Resource: ["acs:ossvector:*:000000000000:*"] }), undefined, "allow"],
  ];
  for (const [what, policy, asked, expected] of rows) {
    test(what, () => assert.equal(ask(policy, asked), expected));
  }
});

suite("refused", () => {
  const statements = (count: number) => iam({}, ...Array.from({ length: count - 1 }, () => ({})));
  const withText = (text: string) => iam({}).replace('"Effect":"Allow"', `"Effect":"Allow",${text}`);
  const bare = (statement: Json) => JSON.stringify({ Version: "2012-10-17", Statement: [statement] });
  const rows: [string, string, RegExp][] = [
    ["no JSON", "{", /^policy: Must be a JSON object$/],
    ["a list", "[]", /JSON object/],
    ["text that is no UTF-8", '"\ud800"', /valid UTF-8/],
    ["more bytes", `${iam({})}${" ".repeat(20_480)}`, /at most 20480 bytes of valid UTF-8, got \d+/],
    ["a hundred and one statements", statements(101), /Statement must have at most 100 statements, got 101/],
    ["deep JSON", withText(`"Sid":${"[".repeat(9_000)}${"]".repeat(9_000)}`), /at most 6 levels/],
    ["a member twice", withText('"Effect":"Allow"'), /a member twice/],
    ["a member twice, once with an escape", withText('"Eff\\u0065ct":"Deny"'), /a member twice/],
    [
      "a member twice deep inside",
      iam({ Condition: { Bool: { "aws:SecureTransport": "true" } } }).replace(
        '"true"',
        '"true","aws:SecureTransport":"a:\\"b"',
      ),
      /a member twice/,
    ],
    [
      "__proto__",
      withText('"__proto__":{"Effect":"Deny"}'),
      /Statement\[0\] must have no other members than Effect, .*, got "__proto__"/,
    ],
    [
      "constructor as an operator",
      iam({ Condition: { constructor: { "aws:SourceIp": "::" } } }),
      /Statement\[0\].Condition must have no other operators than StringEquals, .*, got "constructor"/,
    ],
    ["no version", '{"Statement":[]}', /Version must be "2012-10-17" or "1", got nothing/],
    ["another version", '{"Version":"2008-10-17","Statement":[]}', /Version must be .*, got "2008-10-17"/],
    ["no statements", '{"Version":"2012-10-17"}', /Statement must be an object, got nothing/],
    [
      "an unknown member",
      '{"Version":"1","Id":"a","Statement":[]}',
      /no other members than Version, Statement, got "Id"/,
    ],
    ["an identifier that is no text", '{"Version":"2012-10-17","Id":1,"Statement":[]}', /Id must be a string, got 1/],
    [
      "a statement that is none",
      '{"Version":"2012-10-17","Statement":["a"]}',
      /Statement\[0\] must be an object, got "a"/,
    ],
    ["another effect", iam({ Effect: "allow" }), /Statement\[0\].Effect must be "Allow" or "Deny", got "allow"/],
    ["a Sid that is no text", iam({}, { Sid: {} }), /Statement\[1\].Sid must be a string/],

    [
      "no principal",
      bare({ Effect: "Allow", Action: "*", Resource: "*" }),
      /Statement\[0\].Principal must be "\*" or \{ "AWS": ... \}, got nothing/,
    ],
    ["NotPrincipal", iam({ NotPrincipal: { AWS: "a" } }), /no NotPrincipal: use Principal "\*" and/],
    [
      "a principal of another kind",
      iam({ Principal: { Service: "a" } }),
      /Principal must have no other members than AWS, got "Service"/,
    ],
    ["a principal without the member", iam({ Principal: "website" }), /Principal must be "\*" or/],
    [
      "a list of no principals",
      iam({ Principal: { AWS: [] } }),
      /Principal.AWS must have at least one value, got \[\]/,
    ],
    [
      "another account",
      iam({ Principal: { AWS: ["a", "123456789012"] } }),
      /Principal.AWS\[1\] must be "\*", the account "000000000000" or .*, got "123456789012"/,
    ],
    [
      "a user of another account",
      iam({ Principal: { AWS: "arn:aws:iam::123456789012:user/a" } }),
      /Principal.AWS must be/,
    ],
    ["a role", iam({ Principal: { AWS: "arn:aws:iam::000000000000:role/a" } }), /Principal.AWS must be/],
    ["a start of a key", iam({ Principal: { AWS: "web*" } }), /Principal.AWS must be/],

    [
      "no action",
      bare({ Effect: "Allow", Principal: "*", Resource: "*" }),
      /Statement\[0\] must have exactly one of Action and NotAction, got \["Effect","Principal","Resource"\]/,
    ],
    [
      "an action and all but one",
      iam({ Action: "*", NotAction: "s3vectors:Get*" }),
      /exactly one of Action and NotAction/,
    ],
    [
      "a misspelt action",
      iam({ Action: ["*", "s3vectors:Get*", "s3vectors:QueryVector"] }),
      /Statement\[0\].Action\[2\] must be "\*", or "s3vectors:" and one of CreateVectorBucket, .*, got "s3vectors:QueryVector"/,
    ],
    ["an action of another service", iam({ Action: "s3:GetObject" }), /Action must be/],
    ["an action of OSS", iam({ Action: "s3vectors:PutVectorIndex" }), /Action must be/],
    ["an action on the server", iam({ Action: "s3vectors:ListVectorBuckets" }), /Action must be/],
    ["a misspelt action in all but", iam({ NotAction: "s3vectors:X*" }), /NotAction must be/],
    ["no list of actions", iam({ Action: [] }), /Action must have at least one value/],
    ["an action that is no text", iam({ Action: [["*"]] }), /Action\[0\] must be/],

    [
      "another bucket",
      iam({ Resource: BUCKET_ARN.replace("papers", "paper") }),
      /Statement\[0\].Resource must be "\*" or match something in this bucket: "arn:aws:s3vectors:us-east-1:000000000000:bucket\/papers" or "arn.*\/index\/<index>"/,
    ],
    ["another region", iam({ Resource: BUCKET_ARN.replace("us-east-1", "eu-*") }), /Resource must/],
    ["another service", iam({ Resource: BUCKET_ARN.replace("s3vectors", "s3") }), /Resource must/],
    ["a resource that no index can be", iam({ Resource: `${BUCKET_ARN}/index/a/*` }), /Resource must/],
    ["a resource that no index can start as", iam({ Resource: `${BUCKET_ARN}/index/-*` }), /Resource must/],
    ["a resource longer than any index", iam({ Resource: `${BUCKET_ARN}/index/${"?*".repeat(64)}` }), /Resource must/],
    [
      "a resource far longer than any",
      iam({ Resource: `arn:aws:s3vectors:*:*:${"?*".repeat(9_000)}` }),
      /Resource must/,
    ],
    ["a variable", iam({ Resource: `${BUCKET_ARN}/index/\${aws:username}` }), /Resource must/],
    ["a resource of OSS", iam({ Resource: "acs:ossvector:*:*:papers" }), /Resource must/],
    [
      "a query of a bucket",
      iam({ Action: "s3vectors:QueryVectors", Resource: BUCKET_ARN }),
      /Statement\[0\] must have a resource that one of its actions can be done to/,
    ],
    ["the policy of an index", iam({ Action: "s3vectors:*Policy", Resource: INDEX_ARN }), /can be done to/],

    ["no condition", iam({ Condition: {} }), /Statement\[0\].Condition must have at least one member/],
    [
      "an unknown operator",
      iam({ Condition: { StringEqualsIfExists: {} } }),
      /no other operators than StringEquals, .*, DateGreaterThan, got "StringEqualsIfExists"/,
    ],
    ["an operator without a key", iam({ Condition: { Bool: {} } }), /Condition.Bool must have at least one member/],
    [
      "an unknown key",
      condition("StringLike", "aws:PrincipalArn", "*"),
      /Condition.StringLike must have no other keys than aws:username, s3vectors:namespace, got "aws:PrincipalArn"/,
    ],
    [
      "a key of another operator",
      condition("StringEquals", "aws:SourceIp", "10.0.0.1"),
      /no other keys than aws:username, s3vectors:namespace/,
    ],
    [
      "no values",
      condition("IpAddress", "aws:sourceip", []),
      /Condition.IpAddress\["aws:SourceIp"\] must have at least one value/,
    ],
    [
      "no address",
      condition("IpAddress", "aws:SourceIp", ["10.0.0.1", "10.0.0"]),
      /\["aws:SourceIp"\]\[1\] must be an IP address or a range/,
    ],
    [
      "a key twice",
      iam({ Condition: { IpAddress: { "aws:SourceIp": "10.0.0.1", "AWS:SourceIP": "10.0.0.2" } } }),
      /Condition.IpAddress must name each key once/,
    ],
    ["a range too long", condition("IpAddress", "aws:SourceIp", "10.0.0.0/33"), /IP address/],
    ["a range without a length", condition("IpAddress", "aws:SourceIp", "10.0.0.0/"), /IP address/],
    ["IPv4 as IPv6", condition("IpAddress", "aws:SourceIp", "::ffff:10.0.0.0/104"), /IP address/],
    ["a zone", condition("IpAddress", "aws:SourceIp", "fe80::1%eth0"), /IP address/],
    ["no truth", condition("Bool", "aws:SecureTransport", "yes"), /must be "true" or "false", got "yes"/],
    [
      "no day",
      condition("DateLessThan", "aws:CurrentTime", "2026-02-30T00:00:00Z"),
      /must be a time since 1970 such as/,
    ],
    ["no time", condition("DateLessThan", "aws:CurrentTime", "2026-02-20T24:00:00Z"), /must be a time/],
    ["seconds", condition("DateLessThan", "aws:CurrentTime", 1_700_000_000), /must be a time .*, got 1700000000/],
    [
      "a wildcard where none is meant",
      condition("StringEquals", "s3vectors:namespace", "a*"),
      /without "\*" and "\?", which are for StringLike, got "a\*"/,
    ],
    [
      "what no namespace can be",
      condition("StringLike", "s3vectors:namespace", "-*"),
      /must be "" or the name of a namespace/,
    ],
    [
      "what no key can be",
      condition("StringLike", "aws:username", "a b*"),
      /must be the identifier of an access key, with/,
    ],
    ["a key with a wildcard where none is meant", condition("StringEquals", "aws:username", "a*"), /StringLike/],

    [
      "a condition in the language of OSS",
      oss({ Condition: {} }),
      /no other members than Effect, Principal, Action, Resource, got "Condition"/,
    ],
    ["all but an action in it", oss({ NotAction: "oss:Get*" }), /got "NotAction"/],
    ["no principals in it", oss({ Principal: [] }), /Principal must have at least one value/],
    [
      "its own names twice",
      oss({ Action: "oss:CreateIndex" }),
      /"ossvector:" or "oss:" and one of PutVectorBucket, .*, got "oss:CreateIndex"/,
    ],
    ["an action on the server in it", oss({ Action: "oss:ListVectorBuckets" }), /Action must be/],
    [
      "an ARN in it",
      oss({ Resource: BUCKET_ARN }),
      /"acs:ossvector:us-east-1:000000000000:papers" or "acs:ossvector:us-east-1:000000000000:papers\/<index>"/,
    ],
    ["a user in it", oss({ Principal: ["arn:aws:iam::000000000000:user/a"] }), /Principal\[0\] must be/],
  ];
  for (const [what, policy, message] of rows) {
    test(what, () => {
      assert.throws(
        () => parsePolicy(policy, SCOPE, BUCKET),
        (error) => {
          assert.ok(error instanceof QuiverError);
          assert.equal(error.reason, "INVALID_FIELD");
          assert.equal(error.violations[0]?.field, "policy");
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }
});

suite("patterns", () => {
  test("with many stars end after as many steps as text and pattern have characters, multiplied", () => {
    const text = "a".repeat(10_000);
    const started = performance.now();
    assert.equal(new Wildcard(`${"a*".repeat(5_000)}b`).matches(text), false);
    assert.equal(new Wildcard(`${"*?a".repeat(3_000)}b*`).matches(text), false);
    assert.equal(new Wildcard(`${"*".repeat(20_000)}b`).matches(text), false);
    assert.equal(new Wildcard(`*${"a".repeat(5_000)}b*`).matches(text), false);
    assert.equal(new Wildcard(`${"*a?".repeat(3_000)}*`).matches(text), true);
    assert.ok(performance.now() - started < 5_000, `${performance.now() - started} ms`);
  });

  test("leave what may follow a start", () => {
    assert.deepEqual(restsAfter("ab", "a"), ["b"]);
    assert.deepEqual(restsAfter("ab", "b"), []);
    assert.deepEqual(restsAfter("ab", "ab"), [""]);
    assert.deepEqual(restsAfter("*b", "ab").sort(), ["", "*b", "b"].sort());
    assert.deepEqual(restsAfter("a**", "a").sort(), ["**", "*", ""].sort());
  });
});

suite("docs/guides/policies.md", () => {
  const page = readFileSync(resolve(import.meta.dirname, "../../docs/guides/policies.md"), "utf8");
  const examples = [...page.matchAll(/^```json\n(.*?)^```/gms)].map(([, code = ""]) => code);
  const [first = "", tenant = "", tls = "", vendor = ""] = examples;

  const [website = "", tenantKey = "", contractor = ""] = new Set(page.match(/\bQK[A-Z2-7]{18}\b/g));

  test("its examples name access keys as the server makes them", () => {
    const principals = [...page.matchAll(/"Principal": (\{.*?\}|\[.*?\]|"\*")/g)];
    const named = principals.flatMap(([, json = ""]) => json.match(/"[^"]+"/g) ?? []);
    assert.ok(named.length > 6, `${named}`);
    for (const name of named) assert.match(name, /^"(AWS|\*|(arn:aws:iam::\d{12}:user\/)?QK[A-Z2-7]{18})"$/);
  });

  test("its examples say what it says of them", () => {
    assert.equal(examples.length, 4);
    assert.equal(ask(first, { keyId: website }), "allow");
    assert.equal(ask(first, { keyId: website, action: "DeleteVectors" }), undefined);
    assert.equal(ask(first, { action: "DeleteVectors", address: "192.0.2.1" }), "deny");
    const namespaced = { index: "drafts", namespace: "tenant-a" };
    assert.equal(ask(tenant, { keyId: tenantKey }), "deny");
    assert.equal(ask(tenant, { keyId: tenantKey, resource: namespaced }), undefined);
    assert.equal(ask(tenant, { keyId: tenantKey, action: "GetIndex", resource: { index: "drafts" } }), undefined);
    assert.equal(ask(tenant, { keyId: tenantKey, action: "DeleteIndex", resource: { index: "drafts" } }), "deny");
    assert.equal(ask(tls, { secure: false }), "deny");
    const drafts = { keyId: contractor, resource: { index: "drafts-1", namespace: "public-1" } };
    assert.equal(ask(tls, drafts), "allow");
    assert.equal(ask(tls, { ...drafts, at: Date.parse("2027-01-01") }), undefined);
    assert.equal(ask(vendor, { keyId: website }), "allow");
    assert.equal(ask(vendor, { action: "PutVectorBucketPolicy", resource: {} }), "deny");
  });

  test("its table of actions has every action on a bucket, and where it is done", () => {
    const [ours = ""] = page.split("## The language of OSS");
    const table = [...ours.matchAll(/^\| (.*) \| (\w+(?:, \w+)+) \|$/gm)];
    const documented = table.flatMap(([, where, names = ""]) => names.split(", ").map((name) => [name, where]));
    const wheres = {
      server: undefined,
      bucket: "the bucket",
      index: "an index",
      namespace: "an index, with a namespace",
    };
    const actions = (Object.keys(ACTIONS) as Action[]).map((action) => {
      const isTag = action.toLowerCase().includes("tag");
      return [action, isTag ? "whichever of bucket and index is named" : wheres[ruleOf(action).on]];
    });
    assert.deepEqual(documented.sort(), actions.filter(([, where]) => where !== undefined).sort());
  });
});
