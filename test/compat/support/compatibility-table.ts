import { resolve } from "node:path";

export const COMPATIBILITY_PAGE = resolve(import.meta.dirname, "../../../docs/reference/other-clients.md");

/** What becomes of one operation of a vendor's API, as the tests with its clients have shown. */
export interface OperationRow {
  readonly operation: string;
  readonly status: "works" | "differs" | "not offered";
  /** How it differs, or why it is not offered; "" where there is nothing to say. */
  readonly note: string;
}

export interface VendorTable {
  readonly title: string;
  readonly rows: readonly OperationRow[];
}

/** The text of docs/reference/other-clients.md. */
export function compatibilityPage(tables: readonly VendorTable[]): string {
  const counts = tables.map(({ title, rows }) => {
    const count = (status: OperationRow["status"]) => rows.filter((row) => row.status === status).length;
    return `| ${title} | ${count("works")} | ${count("differs")} | ${count("not offered")} |`;
  });
  return `# Operations of other vendors' APIs

Made by \`scripts/compatibility-table\` from the tables that the tests in \`test/compat\` go through with the vendors' official clients: a
row that is wrong fails them. [The guide](../guides/other-clients.md) says how to point each client at Quiver.

| API | works | differs | not offered |
|---|---|---|---|
${counts.join("\n")}
${tables.map(sectionOf).join("")}`;
}

function sectionOf({ title, rows }: VendorTable): string {
  const lines = rows.map(({ operation, status, note }) => `| ${cell(operation)} | ${status} | ${cell(note)} |`);
  return `
## ${title}

| operation | | |
|---|---|---|
${lines.join("\n")}
`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}
