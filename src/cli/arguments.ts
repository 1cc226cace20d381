import { type ParseArgsConfig, parseArgs } from "node:util";
import { QuiverError } from "../errors.ts";

export interface Arguments<Flag extends string, Switch extends string> {
  readonly flags: { readonly [Name in Flag]?: string };
  /** Those that were given. */
  readonly switches: { readonly [Name in Switch]?: true };
  readonly words: readonly string[];
}

/**
 * Reads a command's flags, which take text, its switches, which take nothing, and at most `words` other arguments. Throws
 * INVALID_FIELD on others.
 */
export function readArguments<Flag extends string, Switch extends string = never>(
  args: readonly string[],
  flags: readonly Flag[],
  { words = 0, switches = [] }: { readonly words?: number; readonly switches?: readonly Switch[] } = {},
): Arguments<Flag, Switch> {
  const options: ParseArgsConfig["options"] = Object.fromEntries([
    ...flags.map((flag) => [flag, { type: "string" }]),
    ...switches.map((name) => [name, { type: "boolean" }]),
  ]);
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: words > 0 });
    if (positionals.length > words) throw new Error(`Unexpected argument '${positionals[words]}'`);
    const given = Object.entries(values);
    return {
      flags: Object.fromEntries(given.filter(([, value]) => value !== true)) as Arguments<Flag, Switch>["flags"],
      switches: Object.fromEntries(given.filter(([, value]) => value === true)) as Arguments<Flag, Switch>["switches"],
      words: positionals,
    };
  } catch (error) {
    throw new QuiverError("INVALID_FIELD", `${(error as Error).message}; --help lists the options`);
  }
}
