import { type ParseArgsConfig, parseArgs } from "node:util";
import { QuiverError } from "../errors.ts";

/** Reads a command's flags, all of which take text, and at most `words` other arguments; throws INVALID_FIELD on others. */
export function readArguments<Flag extends string>(
  args: readonly string[],
  flags: readonly Flag[],
  { words = 0 }: { readonly words?: number } = {},
): { readonly flags: { readonly [Name in Flag]?: string }; readonly words: readonly string[] } {
  const options: ParseArgsConfig["options"] = Object.fromEntries(flags.map((flag) => [flag, { type: "string" }]));
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: words > 0 });
    if (positionals.length > words) throw new Error(`Unexpected argument '${positionals[words]}'`);
    return { flags: values as { readonly [Name in Flag]?: string }, words: positionals };
  } catch (error) {
    throw new QuiverError("INVALID_FIELD", `${(error as Error).message}; --help lists the options`);
  }
}
