import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import {
  type DescField,
  type DescMessage,
  type DescMethod,
  fromJson,
  type JsonValue,
  ScalarType,
} from "@bufbuild/protobuf";
import { QuiverError } from "../../src/errors.ts";
import { createServices } from "../../src/rpc/services/all.ts";
import type { Service } from "../../src/service/service.ts";

type Handler = (request: unknown) => unknown;

// Handlers refuse what they do not serve before they ask a use case: none is needed here.
const methods = createServices({} as Service).flatMap(({ service, implementation }) =>
  service.methods.map((method) => ({
    name: `${service.name}/${method.name}`,
    method,
    handler: (implementation as Readonly<Record<string, unknown>>)[method.localName] as Handler,
  })),
);

const page = readFileSync(resolve(import.meta.dirname, "../../docs/reference/unimplemented.md"), "utf8");
const rows = page.split("\n").filter((line) => line.startsWith("| `"));
const documentedMethods = rows.filter((row) => cellsOf(row) === 2).flatMap((row) => codeIn(row).slice(0, 1));
const documentedFields = rows.filter((row) => cellsOf(row) === 3).map((row) => codeIn(row).slice(0, 2).join(" "));

test("the methods that are refused are those of the documentation", async () => {
  const refused: string[] = [];
  for (const { name, method, handler } of methods) {
    if (await isRefused(handler, fromJson(method.input, {}))) refused.push(name);
  }
  assert.deepEqual(documentedMethods.toSorted(), refused.toSorted());
});

test("the request fields that are refused are those of the documentation", async () => {
  const refused: string[] = [];
  const served = methods.filter(({ name, method }) => isUnary(method) && !documentedMethods.includes(name));
  assert.ok(served.length > 10);
  for (const { name, method, handler } of served) {
    for (const path of pathsOf(method.input)) {
      const requests = requestsWith(path).map((body) => fromJson(method.input, body));
      const refusals = await Promise.all(requests.map((request) => isRefused(handler, request)));
      if (refusals.includes(true)) refused.push(`${name} ${path.map((field) => field.name).join(".")}`);
    }
  }
  // A message that is refused whole is not listed field by field.
  const outermost = refused.filter((each) => !refused.some((outer) => each.startsWith(`${outer}.`)));
  assert.deepEqual(documentedFields.toSorted(), outermost.toSorted());
});

async function isRefused(handler: Handler, request: unknown): Promise<boolean> {
  try {
    await handler(request);
    return false;
  } catch (error) {
    return error instanceof QuiverError && error.reason === "NOT_IMPLEMENTED";
  }
}

function isUnary({ methodKind }: DescMethod): boolean {
  return methodKind === "unary";
}

/** Every field of a message of quiver.v1, and the fields of its fields. */
function pathsOf(message: DescMessage): DescField[][] {
  return message.fields.flatMap((field) => {
    const isOurs = field.message?.typeName.startsWith("quiver.v1.") === true;
    const inner = isOurs && field.message ? pathsOf(field.message) : [];
    return [[field], ...inner.map((path) => [field, ...path])];
  });
}

/** Requests that set this field and nothing else, in JSON. */
function requestsWith([field, ...rest]: readonly DescField[]): { [name: string]: JsonValue }[] {
  assert.ok(field);
  const values = rest.length > 0 ? requestsWith(rest) : samplesOf(field);
  return values.map((value) => ({ [field.jsonName]: field.fieldKind === "list" ? [value] : value }));
}

/** Values that are not the default one; of numbers a small and a large one, for fields that are served in part. */
function samplesOf(field: DescField): JsonValue[] {
  if (field.fieldKind === "map") return [{ a: "b" }];
  if (field.message) return [field.message.typeName === "google.protobuf.Timestamp" ? "2000-01-01T00:00:00Z" : {}];
  if (field.enum) return [1];
  switch (field.scalar) {
    case ScalarType.STRING:
      return ["a"];
    case ScalarType.BOOL:
      return [true];
    default:
      return [1, 10_000];
  }
}

function cellsOf(row: string): number {
  return row.split(" | ").length;
}

function codeIn(row: string): string[] {
  return [...row.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code);
}
