/** One thing that was measured, and what it is compared with. */
export interface Line {
  readonly what: string;
  readonly quiver: number;
  readonly unit: string;
  /** What it is compared with; absent: the measure itself is bounded. */
  readonly against?: { readonly name: string; readonly value: number };
  /** The bound, of the ratio or of the measure itself; absent: it is told for comparison. */
  readonly reach?: { readonly atMost: number } | { readonly atLeast: number };
}

/** What is compared with the bound. */
export function comparedValue({ quiver, against }: Line): number {
  return against === undefined ? quiver : quiver / against.value;
}

function verdictOf(line: Line): readonly [reach: string, reached: string] {
  const { reach } = line;
  if (reach === undefined) return ["", ""];
  const value = comparedValue(line);
  const [bound, isReached] =
    "atMost" in reach ? [`<= ${reach.atMost}`, value <= reach.atMost] : [`>= ${reach.atLeast}`, value >= reach.atLeast];
  return [bound, isReached ? "yes" : "no"];
}

/** The table as Markdown. */
export function toMarkdown(lines: readonly Line[]): string {
  const rows = lines.map((line) => {
    const { what, quiver, unit, against } = line;
    const compared = against ? `${against.name}: ${short(against.value)} ${unit}` : "";
    const ratio = against ? `${short(comparedValue(line))} x` : "";
    return [what, `${short(quiver)} ${unit}`, compared, ratio, ...verdictOf(line)];
  });
  const all = [["what", "Quiver", "compared with", "ratio", "reach", "reached"], ...rows];
  const widths = (all[0] ?? []).map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)));
  const [head = "", ...body] = all.map((row) => `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`);
  return [head, `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...body].join("\n");
}

function short(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en-US");
  return Number(value.toPrecision(3)).toString();
}
