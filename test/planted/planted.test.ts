import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { PLANTED_BUGS, type PlantedBug } from "./bugs.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const COPIED = ["src", "test", "gen", "native", "proto", "clients", "docs", "scripts", "package.json"];
const BUGS = rounds("PLANTED", { quick: 2, full: PLANTED_BUGS.length });
/** Comma-separated parts of names: only these bugs, whatever their number. */
const ONLY = process.env.QUIVER_TEST_PLANTED_ONLY?.split(",");
/** A test that a bug makes hang fails after so long; should that not end it, its process is ended. */
const TEST_MS = 90_000;
const HANG_MS = 3 * TEST_MS;

test("every planted bug stands where it says, and its test is there", () => {
  for (const { name, file, search, replace, test: found } of PLANTED_BUGS) {
    assert.equal(readFileSync(join(ROOT, file), "utf8").split(search).length - 1, 1, `${name}: "${search}" in ${file}`);
    assert.notEqual(search, replace, name);
    assert.ok(existsSync(join(ROOT, found.file)), `${name}: ${found.file}`);
  }
});

test("each planted bug is noticed by the test that is about it", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const chosen = ONLY
    ? PLANTED_BUGS.filter(({ name }) => ONLY.some((part) => name.includes(part)))
    : shuffled(PLANTED_BUGS, random).slice(0, BUGS);
  const copy = copyOfSource();
  const survivors: string[] = [];
  for (const bug of chosen) {
    const intact = await runTest(copy, bug);
    assert.deepEqual(
      [intact.failed, intact.passed > 0],
      [[], true],
      `without the bug "${bug.name}":\n${intact.output}`,
    );
    const { failed, output } = await withBug(copy, bug, () => runTest(copy, bug));
    t.diagnostic(`${failed.length > 0 ? "noticed" : "SURVIVED"}: ${bug.name}: ${failed[0] ?? bug.test.name}`);
    if (failed.length === 0) survivors.push(`${bug.name}\n${output.slice(-2_000)}`);
  }
  assert.deepEqual(survivors, []);
});

function copyOfSource(): string {
  const copy = temporaryDirectory();
  for (const name of COPIED) cpSync(join(ROOT, name), join(copy, name), { recursive: true, preserveTimestamps: true });
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  return copy;
}

/** Changes the copy as the bug says, builds what must be built, and changes it back. */
async function withBug<T>(copy: string, { file, search, replace }: PlantedBug, use: () => Promise<T>): Promise<T> {
  const path = join(copy, file);
  const source = readFileSync(path, "utf8");
  const build = () => (file.startsWith("native/") && !file.endsWith(".ts") ? make(copy) : undefined);
  writeFileSync(
    path,
    source.replace(search, () => replace),
  );
  try {
    await build();
    return await use();
  } finally {
    writeFileSync(path, source);
    await build();
  }
}

async function make(copy: string): Promise<void> {
  const { code, output } = await run("make", ["-C", "native", "-s"], copy);
  assert.equal(code, 0, output);
}

/**
 * Runs the one test. A file that cannot even be loaded fails under the name of the file, which is no test's: neither
 * passed nor failed.
 */
async function runTest(copy: string, { test: { file, name }, env }: PlantedBug) {
  const pattern = name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const args = ["--test", "--test-reporter=tap", `--test-timeout=${TEST_MS}`, "--test-name-pattern", pattern, file];
  const { output } = await run(process.execPath, args, copy, env);
  const of = (result: string) =>
    [...output.matchAll(new RegExp(`^ *${result} \\d+ - (${pattern}.*)$`, "gm"))].map(([, found]) => found as string);
  return { failed: of("not ok"), passed: of("ok").length, output };
}

async function run(program: string, args: readonly string[], cwd: string, env: PlantedBug["env"] = {}) {
  // The tests in the copy run in their quick form.
  const { NODE_TEST_CONTEXT: _, QUIVER_TEST_FULL: __, ...inherited } = process.env;
  const child = spawn(program, args, { cwd, env: { ...inherited, ...env }, timeout: HANG_MS, killSignal: "SIGKILL" });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      output += text;
    });
  }
  const [code] = await once(child, "close");
  return { code, output };
}

function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  const rest = [...items];
  return items.map(() => rest.splice(random.below(rest.length), 1)[0] as Item);
}
