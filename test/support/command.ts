import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import type { TestContext } from "node:test";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** Runs a program to its end and resolves to what it printed; rejects with its complaints when it fails. */
export async function run(
  program: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<string> {
  const { stdout } = await execute(program, args, { ...options, maxBuffer: 64 * 1024 * 1024 });
  return stdout;
}

/**
 * The path of a program that a plain machine may lack; undefined, with the test skipped and the reason printed, when it
 * is not there. In CI its absence fails the test.
 */
export function findProgram(t: TestContext, name: string, how: string): string | undefined {
  const path = (process.env.PATH ?? "")
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find(isExecutable);
  if (path) return path;
  const reason = `${name} is not installed (${how})`;
  if (process.env.CI) throw new Error(reason);
  t.skip(reason);
  return undefined;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
