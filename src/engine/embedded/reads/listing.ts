import type { Snapshot } from "../../../../native/rocksdb.ts";
import { matches } from "../../../filter/evaluate.ts";
import type { Filter } from "../../../filter/filter.ts";
import type { ListOptions, Vector } from "../../engine.ts";
import { compareKeys } from "../key-order.ts";
import { bytesOfSparse, decodeMetadata } from "../layout.ts";
import type { MetadataChunk, Records } from "../records.ts";

/** Metadata records looked at for one page; one that finds less says where to go on. */
const SCAN_RECORDS_MAX = 20_000;

export interface ListPage {
  readonly items: readonly Vector[];
  readonly more: boolean;
  /** Where the next page starts: after this key. */
  readonly next: string | undefined;
}

interface Listing extends Omit<ListOptions, "filter"> {
  readonly namespace: string;
  readonly filter: Filter | undefined;
  readonly snapshot: Snapshot;
  /** When few match: their keys, in any order. Looked up one by one instead of reading all metadata. */
  readonly candidates: readonly string[] | undefined;
}

/** A page of vectors in ascending byte order of their keys, full by number or by bytes. */
export async function listPage(records: Records, listing: Listing): Promise<ListPage> {
  const { namespace, maxResults, maxBytes, projection, snapshot } = listing;
  const items: Vector[] = [];
  let bytes = 0;
  let looked = 0;
  let last: string | undefined;
  for await (const chunk of chunksOf(records, listing)) {
    looked += chunk.keys.length;
    const chosen = chooseFrom(chunk, listing);
    for (let at = 0; at < chosen.length; ) {
      const room = maxResults - items.length;
      if (room <= 0 || bytes >= maxBytes) return { items, more: true, next: last };
      // Data is read for as many as may fit by the size of those before.
      const mean = items.length > 0 ? bytes / items.length : maxBytes / FIRST_READ;
      const count = Math.min(room, projection.data ? Math.max(1, Math.ceil((maxBytes - bytes) / mean)) : room);
      const some = chosen.slice(at, at + count);
      const vectors = await records.complete(namespace, some, { projection, snapshot });
      for (const [i, vector] of vectors.entries()) {
        if (bytes >= maxBytes) return { items, more: true, next: last };
        items.push(vector);
        bytes += sizeOf(vector, (some[i] as Chosen).record);
        last = vector.key;
      }
      at += some.length;
    }
    last = chunk.keys.at(-1) ?? last;
    if (looked >= SCAN_RECORDS_MAX) return { items, more: true, next: last };
  }
  return { items, more: false, next: undefined };
}

/** Vectors whose data is read at once while nothing is known of their size. */
const FIRST_READ = 64;

/** Everything that matches, in parts of about `maxBytes`. */
export async function* exportParts(
  records: Records,
  listing: Omit<Listing, "maxResults" | "segment">,
): AsyncGenerator<readonly Vector[]> {
  const page = { ...listing, maxResults: Number.POSITIVE_INFINITY, segment: undefined };
  for (let after = listing.after, more = true; more; ) {
    const part = await listPage(records, { ...page, after });
    if (part.items.length > 0) yield part.items;
    after = part.next;
    more = part.more;
  }
}

interface Chosen {
  readonly key: string;
  readonly record: Uint8Array;
}

function chooseFrom({ keys, record }: MetadataChunk, { filter, segment }: Listing): Chosen[] {
  const chosen: Chosen[] = [];
  for (const [i, key] of keys.entries()) {
    if (!inSegment(key, segment)) continue;
    const bytes = record(i);
    if (!filter || matches(filter, decodeMetadata(bytes).metadata)) chosen.push({ key, record: bytes });
  }
  return chosen;
}

function chunksOf(records: Records, listing: Listing): AsyncGenerator<MetadataChunk> {
  const { namespace, candidates, prefix, after, snapshot, filter, segment, maxResults } = listing;
  const count = filter || segment ? Number.POSITIVE_INFINITY : maxResults;
  if (!candidates) return records.metadata(namespace, { prefix, after, snapshot, count });
  const keys = candidates.filter(
    (key) => key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0),
  );
  return records.metadataOf(namespace, keys.sort(compareKeys), { snapshot });
}

function sizeOf({ key, data, sparse, metadata }: Vector, metadataRecord: Uint8Array): number {
  const sparseBytes = sparse ? bytesOfSparse(sparse) : 0;
  return Buffer.byteLength(key) + (data?.byteLength ?? 0) + sparseBytes + (metadata ? metadataRecord.length : 0);
}

/** Segments part the keys by a hash, so that they are even whatever the keys look like: FNV-1a over UTF-16 units. */
function inSegment(key: string, segment: ListOptions["segment"]): boolean {
  if (!segment) return true;
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % segment.count === segment.index;
}
