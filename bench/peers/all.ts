import { openChroma } from "./chroma.ts";
import { openLancedb } from "./lancedb.ts";
import type { OpenPeer } from "./peer.ts";
import { openPgvector } from "./pgvector.ts";
import { openZvec } from "./zvec.ts";

export const PEERS: Readonly<Record<string, OpenPeer>> = {
  pgvector: openPgvector,
  zvec: openZvec,
  lancedb: openLancedb,
  chroma: openChroma,
};
