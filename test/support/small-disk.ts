import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { temporaryDirectory } from "./temporary-directory.ts";

/** The environment for programs other than node: the sanitizers that node may run with do not fit them. */
const env = { ...process.env, LD_PRELOAD: "" };

/**
 * Mounts a file system in memory of so many MiB until the test ends, and resolves to its directory. Where only a namespace
 * of its own may mount, it runs the whole test file again in one. Undefined, with the reason printed, where nothing may;
 * then the test has to return.
 */
export function smallDisk(t: TestContext, mib: number, testFile: string): string | undefined {
  const path = join(temporaryDirectory(), "disk");
  mkdirSync(path);
  const mount = () =>
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mib}m`, "quiver", path], { env, stdio: "pipe" });
  try {
    mount();
  } catch (error) {
    if (process.env.QUIVER_TEST_UNSHARED !== "true" && canUnshare()) return runUnshared(t, testFile);
    const reason = `cannot mount a small file system: ${(error as Error).message}`;
    if (process.env.CI) throw new Error(reason);
    return void t.skip(reason);
  }
  t.after(() => execFileSync("umount", ["--lazy", path], { env, stdio: "pipe" }));
  return path;
}

function canUnshare(): boolean {
  return spawnSync("unshare", ["-rm", "true"], { env }).status === 0;
}

function runUnshared(t: TestContext, testFile: string): undefined {
  const name = t.name.replaceAll(/[^\w ]/g, ".");
  const args = ["-rm", process.execPath, "--test", `--test-name-pattern=^${name}$`, testFile];
  const { status, stdout } = spawnSync("unshare", args, {
    env: { ...env, QUIVER_TEST_UNSHARED: "true", NODE_TEST_CONTEXT: undefined },
    encoding: "utf8",
  });
  t.diagnostic("ran in a namespace of its own");
  if (status !== 0) throw new Error(stdout);
  return undefined;
}
