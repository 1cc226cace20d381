/**
 * Points of the source at which a test can end, pause or fail a server that it has started with the environment variable
 * QUIVER_TEST_FAILPOINTS. "after-write=kill@3" does so when the third write gets there; several are separated by commas.
 * Without the variable to reach a point does nothing.
 */
export const FAILPOINTS = [
  // A write, in the order of its way: to the store, to memory, to its caller.
  "before-write",
  "after-write",
  "after-apply",
  // A turn of building a graph.
  "before-graph",
  // The two steps of creating an index, the three of deleting one.
  "after-create-family",
  "after-delete-index",
  "after-drop-family",
  "after-forget-family",
  // The high-water mark.
  "before-create-mark",
  "before-mark",
  "after-write-mark",
  "after-mark",
  // Saving a graph.
  "before-save-graph",
  "after-save-graph",
  "before-rename-keys",
  "after-rename-keys",
  "after-remove-keys",
  // A backup.
  "after-checkpoint",
  "after-copy-file",
  "after-copy",
  "before-rename-backup",
  "after-rename-backup",
] as const;

export type Failpoint = (typeof FAILPOINTS)[number];

/** "kill" ends the process as SIGKILL does, "pause:<ms>" stops it for so long, "throw" throws an Error. */
const FORM = /^(?<point>[a-z-]+)=(?:(?<action>kill|throw)|pause:(?<ms>\d{1,6}))@(?<hit>[1-9]\d{0,8})$/;

/** Says that a point is reached. */
export const failpoint = createFailpoint(process.env.QUIVER_TEST_FAILPOINTS);

/** Makes a function that does what the text says; throws when it names no point or no action. */
export function createFailpoint(text: string | undefined): (point: Failpoint) => void {
  if (text === undefined) return () => {};
  const armed = new Map<string, Armed>();
  for (const part of text.split(",")) {
    const { point, action, ms, hit } = FORM.exec(part)?.groups ?? {};
    if (!FAILPOINTS.some((known) => known === point)) {
      throw new Error(`QUIVER_TEST_FAILPOINTS: "${part}" is not <point>=kill|pause:<ms>|throw@<hit>, or no such point`);
    }
    armed.set(point as Failpoint, { action: action ?? Number(ms), hitsLeft: Number(hit) });
  }
  return (point) => {
    const at = armed.get(point);
    if (at !== undefined && --at.hitsLeft === 0) act(point, at);
  };
}

interface Armed {
  /** A number is milliseconds. */
  readonly action: string | number;
  hitsLeft: number;
}

function act(point: Failpoint, { action }: Armed): void {
  if (action === "kill") process.kill(process.pid, "SIGKILL");
  if (action === "throw") throw new Error(`A test fails "${point}"`);
  if (typeof action === "number") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, action);
}
