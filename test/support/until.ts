import { setImmediate, setTimeout } from "node:timers/promises";

/** Looks in so many turns of the event loop, then once a millisecond: what is waited for may need the processor. */
const EAGER_LOOKS = 50;

/** Resolves once the condition holds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let looks = 0; !(await condition()); looks++) {
    if (looks < EAGER_LOOKS) await setImmediate();
    else await setTimeout(1);
  }
}
