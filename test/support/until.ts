import { setImmediate } from "node:timers/promises";

/** Resolves once the condition holds, looking again in every turn of the event loop. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await setImmediate();
}
