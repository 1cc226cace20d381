import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Frees now what this process does not use any more. */
export function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
}
