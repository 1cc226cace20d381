import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FileDescriptorProto,
  FileDescriptorSetSchema,
  MethodOptions_IdempotencyLevel,
} from "@bufbuild/protobuf/wkt";
import { REASONS } from "../../src/errors.ts";

const root = resolve(import.meta.dirname, "../..");

/** proto/ as buf reads it, with the comments that generated code leaves out. */
const files = fromBinary(
  FileDescriptorSetSchema,
  execFileSync(
    process.execPath,
    ["node_modules/.bin/buf", "build", "proto", "--exclude-imports", "--output", "-#format=binpb"],
    { cwd: root },
  ),
).file.filter(({ package: name }) => name === "quiver.v1");

/** Each element of quiver.v1 by its full name, with its comment as one line. */
const comments = new Map(files.flatMap(commentsOf));

test("every service, method, message, field, enum and value has a comment that ends as a sentence", () => {
  assert.ok(comments.size > 400, `Found ${comments.size} elements only`);
  const without = [...comments].filter(([, comment]) => !/^[A-Z$0-9].*[.]$/.test(comment));
  assert.deepEqual(without, []);
});

test("Get and List methods have no side effects, and no other method says so", () => {
  const methods = files.flatMap(({ service }) => service).flatMap(({ method }) => method);
  assert.ok(methods.length > 40);
  for (const { name, options, serverStreaming } of methods) {
    const isRead = /^(Get|List)/.test(name) && !serverStreaming;
    const isMarked = options?.idempotencyLevel === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
    assert.equal(isMarked, isRead, name);
  }
});

test("requests name an index by the same fields, in the same place", () => {
  const requests = files.flatMap(({ messageType }) => messageType).filter(({ name }) => /Request$/.test(name));
  const withIndexArn = requests.filter(({ field }) => field.some(({ name }) => name === "index_arn"));
  assert.ok(withIndexArn.length > 20);
  for (const { name, field } of withIndexArn) {
    const start = field.slice(0, 3).map((each) => `${each.name} = ${each.number}`);
    assert.deepEqual(start, ["vector_bucket_name = 1", "index_name = 2", "index_arn = 3"], name);
    const namespace = field.find((each) => each.name === "namespace");
    assert.equal(namespace?.number ?? 4, 4, name);
  }
});

test("the error table, the contract and the documentation list the same reasons, codes and ways out", () => {
  const prefix = "quiver.v1.ERROR_REASON_";
  const contract = [...comments]
    .filter(([name]) => name.startsWith(prefix) && name !== `${prefix}UNSPECIFIED`)
    .map(([name, comment]) => {
      const parts = /^(?<code>[A-Z_]+)\. (?<when>.+?\.) (?<wayOut>.+)$/.exec(comment)?.groups;
      assert.ok(parts, `${name} says "<CODE>. <When>. <Way out>.", not "${comment}"`);
      return [name.slice(prefix.length), parts.code, parts.when, parts.wayOut];
    });
  const documentation = rowsOf("docs/reference/errors.md").map(([reason = "", code = "", when, wayOut]) => [
    reason.replaceAll("`", ""),
    code,
    when,
    wayOut,
  ]);
  const codes = contract.map(([reason, code]) => [reason, code]);
  assert.deepEqual(Object.entries(REASONS).sort(), codes.sort());
  assert.deepEqual(documentation, contract);
});

/** The cells of the rows that begin with code. */
function rowsOf(page: string): string[][] {
  const lines = readFileSync(resolve(root, page), "utf8").split("\n");
  return lines.filter((line) => line.startsWith("| `")).map((line) => line.slice(2, -2).trim().split(/ +\| /));
}

function commentsOf(file: FileDescriptorProto): [name: string, comment: string][] {
  const byPath = new Map(
    file.sourceCodeInfo?.location.map(({ path, leadingComments }) => [path.join(), leadingComments]),
  );
  return elementsOf(file).map(([path, name]) => [
    `${file.package}.${name}`,
    (byPath.get(path.join()) ?? "").replace(/\s+/g, " ").trim(),
  ]);
}

type Element = [path: number[], name: string];

// The numbers in a path are those of the fields in google/protobuf/descriptor.proto: 4 = message_type, 2 = field, ...
function elementsOf(file: FileDescriptorProto): Element[] {
  return [
    ...file.messageType.flatMap((message, i) => messageElements(message, [4, i], "")),
    ...file.enumType.flatMap((each, i) => enumElements(each, [5, i], "")),
    ...file.service.flatMap(({ name, method }, i): Element[] => [
      [[6, i], name],
      ...method.map((each, j): Element => [[6, i, 2, j], `${name}.${each.name}`]),
    ]),
  ];
}

function messageElements(message: DescriptorProto, path: number[], scope: string): Element[] {
  if (message.options?.mapEntry) return [];
  const name = scope + message.name;
  // An optional field stands in a oneof of its own that nobody wrote: "_" and the field's name.
  const written = message.oneofDecl.filter((oneof) => !oneof.name.startsWith("_"));
  return [
    [path, name],
    ...message.field.map((field, i): Element => [[...path, 2, i], `${name}.${field.name}`]),
    ...written.map((oneof): Element => [[...path, 8, message.oneofDecl.indexOf(oneof)], `${name}.${oneof.name}`]),
    ...message.nestedType.flatMap((nested, i) => messageElements(nested, [...path, 3, i], `${name}.`)),
    ...message.enumType.flatMap((nested, i) => enumElements(nested, [...path, 4, i], `${name}.`)),
  ];
}

function enumElements({ name, value }: EnumDescriptorProto, path: number[], scope: string): Element[] {
  return [[path, scope + name], ...value.map((each, i): Element => [[...path, 2, i], scope + each.name])];
}
