import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { constants } from "node:os";
import { resolve } from "node:path";
import { test } from "node:test";
import { addon } from "../../native/addon.ts";

const SLOT_BYTES = 256;
const source = resolve(import.meta.dirname, "../../src/engine/embedded/crash-notes.ts");

/** Runs in a process of its own, which ends by a signal. */
function crash(code: string) {
  const program = `import { openCrashNotes } from ${JSON.stringify(source)};\nconst notes = openCrashNotes();\n${code}`;
  return spawnSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
}

for (const signal of ["SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"] as const) {
  test(`a crash by ${signal} writes what ran, and nothing that has ended, and ends the process by ${signal}`, () => {
    const ended = crash(`
      notes.add("ended")();
      notes.add('method b/i" id');
      notes.add("x".repeat(300));
      process.kill(process.pid, "${signal}");
      setTimeout(() => {}, 60_000);
    `);
    assert.equal(ended.signal, signal);
    const lines = ended.stderr.split("\n").filter((line) => line.startsWith("{"));
    const [first, ...calls] = lines.map((line) => JSON.parse(line));
    assert.deepEqual(first, { level: "fatal", msg: "The process crashed", signal: constants.signals[signal] });
    assert.deepEqual(calls.map(({ call }) => call).sort(), ["method b/i? id", "x".repeat(255)]);
  });
}

test("more notes than there is room for are dropped, and room that is given back is used again", () => {
  const { stderr } = crash(`
    const ends = Array.from({ length: 300 }, (_, i) => notes.add("first-" + i));
    for (const end of ends) { end(); end(); }
    for (let i = 0; i < 300; i++) notes.add("second-" + i);
    process.abort();
  `);
  const calls = stderr.split("\n").filter((line) => line.includes('"call"'));
  assert.equal(calls.length, 256);
  assert.ok(calls.every((line) => line.includes("second-")));
});

test("slots that are no whole number of slots are refused", () => {
  for (const slots of [new Uint8Array(0), new Uint8Array(SLOT_BYTES - 1), new Uint32Array(64), "slots", undefined]) {
    assert.throws(() => addon.keepCrashNotes(slots as Uint8Array), { code: "INVALID_ARGUMENT" });
  }
});
