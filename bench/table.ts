/** One thing that was measured, and what it is compared with. */
export interface Line {
  readonly what: string;
  readonly quiver: number;
  readonly unit: string;
  /** What it is compared with; absent: the measure itself is bounded. */
  readonly against?: { readonly name: string; readonly value: number };
  /** The bound, of the ratio or of the measure itself. */
  readonly reach: { readonly atMost: number } | { readonly atLeast: number };
}

/** What is compared with the bound. */
export function comparedValue({ quiver, against }: Line): number {
  return against === undefined ? quiver : quiver / against.value;
}

export function isReached(line: Line): boolean {
  const value = comparedValue(line);
  return "atMost" in line.reach ? value <= line.reach.atMost : value >= line.reach.atLeast;
}

/** The table as Markdown. */
export function toMarkdown(lines: readonly Line[]): string {
  const rows = lines.map((line) => {
    const { what, quiver, unit, against, reach } = line;
    const compared = against ? `${against.name}: ${short(against.value)} ${unit}` : "";
    const ratio = against ? `${short(comparedValue(line))} x` : "";
    const bound = "atMost" in reach ? `<= ${reach.atMost}` : `>= ${reach.atLeast}`;
    return [what, `${short(quiver)} ${unit}`, compared, ratio, bound, isReached(line) ? "yes" : "no"];
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
