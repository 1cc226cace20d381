import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

const folder = resolve(import.meta.dirname, "../python");
/** The environment in which most clients are, and the one of Pinecone's last client with Google's gRPC. */
type Environment = "venv" | "venv-pinecone-grpc";
const pythonOf = (environment: Environment) => join(folder, environment, "bin/python");

/** For `test`: skips it where the vendors' Python clients are not installed; with CI set, it fails instead. */
export const WITH_PYTHON = {
  skip:
    (existsSync(pythonOf("venv")) && existsSync(pythonOf("venv-pinecone-grpc"))) || process.env.CI !== undefined
      ? false
      : "the vendors' Python clients are not installed: scripts/python-clients does that",
};

/** Runs a script of this folder's `python` with arguments, and resolves to the JSON that it prints last. */
export async function runPython(
  script: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  environment: Environment = "venv",
): Promise<unknown> {
  const output = await outputOf(script, [join(folder, script), ...args], env, environment);
  return JSON.parse(output.trimEnd().split("\n").at(-1) ?? "");
}

/** Runs Python code, and resolves to what it prints. */
export function runPythonCode(
  code: string,
  env: NodeJS.ProcessEnv = {},
  environment: Environment = "venv",
): Promise<string> {
  return outputOf("The code", ["-c", code], env, environment);
}

async function outputOf(
  name: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  environment: Environment,
): Promise<string> {
  const child = spawn(pythonOf(environment), args, {
    env: { ...process.env, NO_PROXY: "*", PYTHONDONTWRITEBYTECODE: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [output, complaints] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text) => {
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    complaints += text;
  });
  const code = await new Promise((done, fail) => child.once("close", done).once("error", fail));
  assert.equal(code, 0, `${name} ended with ${code}: ${complaints.slice(-4_000)}`);
  return output;
}
