import assert from "node:assert/strict";
import { test } from "node:test";
import { indexInHost } from "../../../src/compat/pinecone/index-in-host.ts";

/** Undefined: none; with "?": perhaps. */
const HOSTS: Readonly<Record<string, string | undefined>> = {
  "": undefined,
  localhost: undefined,
  "localhost.": undefined,
  "127.0.0.1": undefined,
  "[::1]": undefined,
  "docs-a1b2c3d.svc.aped-4627-b74a.pinecone.io": "docs",
  "docs-old-a1b2c3d.svc.aped-4627-b74a.pinecone.io": "docs-old",
  "docs-a1b2c3d.svc.private.aped-4627-b74a.pinecone.io": "docs",
  "docs.localhost": "docs",
  "docs.localhost.": "docs",
  "docs-old.localhost": "docs-old",
  docs: "docs?",
  "docs.": "docs?",
  "docs.quiver.example": "docs?",
  "docs-old.quiver.example": "docs-old?",
  "localhost.example": "localhost?",
  // A service of Kubernetes.
  "docs.default.svc.cluster.local": "docs?",
  "docs.svc": "docs?",
  "-a.svc.example": "-a?",
};

test("a host names the index that Pinecone's would, or that of its first label, and never the beginning of a label", () => {
  for (const [host, expected] of Object.entries(HOSTS)) {
    const found = indexInHost(host);
    assert.equal(found && `${found.index}${found.isCertain ? "" : "?"}`, expected, host);
  }
});
