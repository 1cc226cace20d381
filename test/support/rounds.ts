/**
 * How often a long test repeats itself: the number in QUIVER_TEST_<name>, else `full` when QUIVER_TEST_FULL is "true",
 * else `quick`.
 */
export function rounds(name: string, { quick, full }: { readonly quick: number; readonly full: number }): number {
  const given = process.env[`QUIVER_TEST_${name}`];
  if (given !== undefined) return Number(given);
  return process.env.QUIVER_TEST_FULL === "true" ? full : quick;
}
