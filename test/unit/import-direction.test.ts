import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";

const root = resolve(import.meta.dirname, "../..");

/** Rooms from the top of the house to its ground; a file may import from its own room and from lower floors. */
const FLOORS: readonly (readonly string[])[] = [
  ["src/main.ts"],
  ["src/cli"],
  ["src/server.ts"],
  ["src/compat"],
  ["src/rpc", "src/http"],
  ["src/service"],
  ["src/engine"],
  ["src/filter", "native", "gen"],
  ["src/config.ts"],
  [
    "src/log.ts",
    "src/version.ts",
    "src/failpoints.ts",
    "src/one-at-a-time.ts",
    "src/work-turns.ts",
    "src/node-http.ts",
  ],
  ["src/errors.ts"],
];

const APART = "facades do not know each other";

/** Who else may not import what, by the start of the path or of the package's name. */
const FORBIDDEN: readonly { from: RegExp; imports: RegExp; because: string }[] = [
  {
    from: /^src\/(?!rpc\/|compat\/pinecone\/)/,
    imports: /^(@connectrpc\/|@bufbuild\/|gen\/)/,
    because: "only src/rpc and Pinecone's gRPC speak protobuf",
  },
  { from: /^src\/compat\//, imports: /^gen\/(?!pinecone\/)/, because: "the native API is for src/rpc" },
  { from: /^src\/compat\/s3vectors\//, imports: /^src\/compat\/(pinecone|oss|moorcheh)\//, because: APART },
  { from: /^src\/compat\/pinecone\//, imports: /^src\/compat\/(s3vectors|oss|moorcheh)\//, because: APART },
  { from: /^src\/compat\/oss\//, imports: /^src\/compat\/(s3vectors|pinecone|moorcheh)\//, because: APART },
  { from: /^src\/compat\/moorcheh\//, imports: /^src\/compat\/(s3vectors|pinecone|oss)\//, because: APART },
  {
    from: /^src\/(?!server\.ts|cli\/|engine\/)/,
    imports: /^src\/engine\/(?!engine\.ts)/,
    because: "engine.ts is the port",
  },
  { from: /^src\/(?!engine\/)/, imports: /^native\//, because: "only engines use native code" },
  { from: /^native\//, imports: /^(src|gen|clients|test)\//, because: "native code knows nothing of Quiver" },
  { from: /^clients\//, imports: /^(src|native|test)\//, because: "clients know the contract only" },
  { from: /^src\//, imports: /^(clients|test|demo)\//, because: "the server knows no client" },
];

const files = globSync(["src/**/*.ts", "native/*.ts", "clients/**/*.ts"], {
  cwd: root,
  exclude: (path) => path.includes("node_modules"),
});

for (const file of files) {
  test(`${file} imports only what its place in the house allows`, () => {
    for (const imported of importsOf(file)) {
      const rule = FORBIDDEN.find(({ from, imports }) => from.test(file) && imports.test(imported));
      assert.equal(rule, undefined, `imports ${imported}, but ${rule?.because}`);
      const from = placeOf(file);
      const to = placeOf(imported);
      if (!from || !to) continue;
      const goesDown = to.floor > from.floor || to.room === from.room;
      assert.ok(goesDown, `${from.room} must not import ${to.room} (${imported})`);
    }
  });
}

test("there are files to look at, and imports in them", () => {
  assert.ok(files.length > 10);
  assert.ok(files.flatMap(importsOf).length > files.length);
});

function importsOf(file: string): string[] {
  const source = readFileSync(join(root, file), "utf8");
  const specifiers = source.matchAll(
    /^(?:import|export)\b[^;]*?\bfrom\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\("([^"]+)"\)/gm,
  );
  return [...specifiers].map(([, from, bare, dynamic]) => {
    const specifier = from ?? bare ?? dynamic ?? "";
    return specifier.startsWith(".") ? relative(root, resolve(root, dirname(file), specifier)) : specifier;
  });
}

function placeOf(path: string): { floor: number; room: string } | undefined {
  for (const [floor, rooms] of FLOORS.entries()) {
    const room = rooms.find((each) => path === each || path.startsWith(`${each}/`));
    if (room) return { floor, room };
  }
  return undefined;
}
