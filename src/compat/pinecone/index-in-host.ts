import { isIP } from "node:net";

/** The index that a host seems to name. */
export interface IndexInHost {
  readonly index: string;
  /** Whether the host can mean nothing else; otherwise it may also be the server's own name. */
  readonly isCertain: boolean;
}

/**
 * Reads `<index>-<project>.svc.<environment>`, which is how Pinecone calls the hosts of indexes, `<index>.localhost`, and the
 * first label of any other name. No index is taken for the beginning of a longer label: with an index `docs`, the host of an
 * index `docs-old` that was deleted must not lead there.
 */
export function indexInHost(host: string): IndexInHost | undefined {
  if (host === "" || isIP(host.replace(/^\[|\]$/g, "")) !== 0) return undefined;
  const [label = "", parent, ...rest] = host.replace(/\.$/, "").split(".");
  const dash = label.lastIndexOf("-");
  if (parent === "svc" && rest.length > 0 && dash > 0) return { index: label.slice(0, dash), isCertain: true };
  if (parent === undefined && label === "localhost") return undefined;
  return { index: label, isCertain: parent === "localhost" && rest.length === 0 };
}
