import type { Message } from "@bufbuild/protobuf";
import {
  create,
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescService,
  ScalarType,
} from "@bufbuild/protobuf";
import type { Random } from "../support/random.ts";

/** Where the fuzz writes; nothing else may change. */
export const FUZZ_BUCKET = "fuzz";
export const FUZZ_INDEX = "index";
const ARN = "arn:aws:s3vectors:us-east-1:000000000000:bucket/fuzz";

const TEXTS: readonly string[] = [
  "",
  "a",
  "key-1",
  "key-2",
  "key-3",
  "__proto__",
  "constructor",
  "x".repeat(64),
  "x".repeat(1_025),
  "\0",
  "../../etc/passwd",
  "\u{1f600}",
  "\ud800",
  "\ufeff",
  '"\\\n\u2028',
  "%00%ff",
  "null",
];

/** What some fields must hold for a request to get anywhere. */
const FITTING: Readonly<Record<string, readonly string[]>> = {
  vectorBucketName: [FUZZ_BUCKET, FUZZ_BUCKET, FUZZ_BUCKET, "fuzz-2", "absent"],
  indexName: [FUZZ_INDEX, FUZZ_INDEX, FUZZ_INDEX, "sparse", "other", "absent"],
  vectorBucketArn: [ARN, "arn:aws:s3vectors:us-east-1:000000000000:bucket/absent"],
  indexArn: [`${ARN}/index/${FUZZ_INDEX}`, `${ARN}/index/absent`],
  resourceArn: [ARN, `${ARN}/index/${FUZZ_INDEX}`],
  namespace: ["", "", "one", "two", "absent"],
  key: ["key-1", "key-2", "key-3", "key-4", "key-5"],
  keys: ["key-1", "key-2", "key-3", "key-4", "key-5"],
  queryKey: ["", "", "key-1", "absent"],
  nextToken: ["", "", "AAAA", "a.b.c"],
  idempotencyKey: ["", "", "again", "other"],
  policy: ["", "{}", '{"Version":"2012-10-17","Statement":[]}'],
  service: ["", "quiver.v1.VectorService", "absent"],
};

/** Alternatives to the name: sometimes a request needs exactly one of several fields. */
const RARELY_SET: ReadonlySet<string> = new Set([
  "indexArn",
  "vectorBucketArn",
  "nextToken",
  "all",
  "filter",
  "ifVersion",
  "fromLsn",
  "segmentCount",
  "segmentIndex",
  "prefix",
  "idempotencyKey",
  "deletionProtection",
]);

const FLOATS = [0, 1, -1, 0.5, 3.4e38, -3.4e38, 1e-45, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
const U32 = [0, 1, 2, 3, 16, 100, 1_000, 1_001, 10_000, 20_001, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];
const U64 = [0n, 1n, 2n, 1_000n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];
const DEPTH_MAX = 6;
/** The fuzz's indexes have vectors of so many values. */
export const FUZZ_DIMENSION = 2;

type Fields = Record<string, unknown>;

/** A message of random fields, many of which fit. */
export function randomMessage(desc: DescMessage, random: Random, depth = 0): Message {
  const fields: Fields = {};
  for (const field of desc.fields) {
    const rarely = RARELY_SET.has(field.localName) || (field.oneof && field.oneof.fields.length > 1);
    if (random.next() > (rarely ? 0.12 : 0.8)) continue;
    const value = valueOfField(field, random, depth);
    if (value === undefined) continue;
    if (field.oneof) fields[field.oneof.localName] = { case: field.localName, value };
    else fields[field.localName] = value;
  }
  return create(desc, fields as never);
}

function valueOfField(field: DescField, random: Random, depth: number): unknown {
  switch (field.fieldKind) {
    case "scalar":
      return scalar(field.scalar, field.localName, random);
    case "enum":
      return enumValue(field.enum, random);
    case "message":
      return messageValue(field.message, random, depth);
    case "map": {
      const count = random.pick([0, 1, 2, 51]);
      return Object.fromEntries(
        Array.from({ length: count }, () => [randomText("", random).toWellFormed(), randomText("", random)]),
      );
    }
    case "list":
      return list(field, random, depth);
  }
}

function list(field: DescField & { fieldKind: "list" }, random: Random, depth: number): unknown[] {
  const isVector = field.localName === "float32";
  const length = isVector && random.next() < 0.9 ? FUZZ_DIMENSION : random.pick([0, 1, 1, 2, 3, 20]);
  return Array.from({ length }, () => element(field, random, depth)).filter((value) => value !== undefined);
}

function element(field: DescField & { fieldKind: "list" }, random: Random, depth: number): unknown {
  switch (field.listKind) {
    case "scalar":
      if (field.localName === "float32" && random.next() < 0.97) return random.next() - 0.5;
      return scalar(field.scalar, field.localName, random);
    case "enum":
      return enumValue(field.enum, random);
    case "message":
      return messageValue(field.message, random, depth);
  }
}

function enumValue(desc: DescEnum, random: Random): number {
  return random.next() < 0.9 ? random.pick(desc.values).number : random.pick([-1, 99, 2 ** 31 - 1]);
}

function messageValue(desc: DescMessage, random: Random, depth: number): unknown {
  if (desc.typeName === "google.protobuf.Struct") return randomObject(random, 0);
  return depth < DEPTH_MAX ? randomMessage(desc, random, depth + 1) : undefined;
}

function scalar(type: ScalarType, name: string, random: Random): unknown {
  switch (type) {
    case ScalarType.STRING:
      return randomText(name, random);
    case ScalarType.BOOL:
      return random.next() < 0.5;
    case ScalarType.BYTES:
      return Uint8Array.from({ length: random.below(20) }, () => random.below(256));
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return random.next() < 0.5 ? random.next() : random.pick(FLOATS);
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return name === "dimension" && random.next() < 0.8 ? FUZZ_DIMENSION : random.pick(U32);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return random.pick(U64);
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return random.pick([0n, 1n, -1n, 2n ** 62n, -(2n ** 63n)]);
    default:
      return random.pick([0, 1, -1, 2 ** 31 - 1, -(2 ** 31)]);
  }
}

function randomText(name: string, random: Random): string {
  const fitting = FITTING[name];
  return fitting && random.next() < 0.9 ? random.pick(fitting) : random.pick(TEXTS);
}

const OPERATORS = ["$eq", "$ne", "$gt", "$lt", "$in", "$nin", "$exists", "$and", "$or", "$not", "$regex"];

/** JSON as metadata or a filter may hold it, or may not. */
function randomObject(random: Random, depth: number): Fields {
  const object: Fields = Object.create(null);
  for (let i = random.below(4); i > 0; i--) {
    const key = random.next() < 0.4 ? random.pick(OPERATORS) : random.pick(["a", "b", "c", "__proto__", "constructor"]);
    object[key] = randomJson(random, depth);
  }
  return object;
}

function randomJson(random: Random, depth: number): unknown {
  const kind = random.next();
  if (kind < 0.15 && depth < 20) return randomObject(random, depth + 1);
  if (kind < 0.3) return Array.from({ length: random.below(4) }, () => randomJson(random, depth + 5));
  return random.pick([null, true, false, 0, -0, 1, 1e308, 2 ** 53, "", "text", "x".repeat(3_000), "\ud800"]);
}

/** Every service of generated code: what the server may serve. */
export function servicesOf(modules: readonly object[]): DescService[] {
  const all = modules.flatMap((module) => Object.values(module) as { kind?: string }[]);
  return all.filter((each) => each?.kind === "service") as unknown as DescService[];
}
