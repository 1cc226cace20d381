import { ABSENT, type Database } from "../../../../native/rocksdb.ts";
import { quote } from "../../../errors.ts";
import type { Index } from "../../engine.ts";
import { decodeMetadata, decodeVector, METADATA_KIND, storeKey, VECTOR_KIND, valueAt } from "../layout.ts";
import type { Partition } from "../partition.ts";
import type { Findings } from "./findings.ts";

/** Keys that are looked at a second time; where more differ, the first ones tell enough. */
const SUSPECTS_MAX = 1_000;

/** How far a value may be from the normalised one: rounding of float32. */
const NORMALISED_ERROR = 1e-5;

export interface SetComparisonOptions {
  readonly database: Database;
  readonly columnFamily: number;
  readonly config: Index;
  readonly partition: Partition;
}

/** Compares the vectors of one namespace as they are stored with those that its graph and its tail search. */
export class SetComparison {
  readonly #options: SetComparisonOptions;
  readonly #suspects = new Set<string>();

  constructor(options: SetComparisonOptions) {
    this.#options = options;
  }

  /** Keeps in mind what differs: the vector may have been changed since it was read. */
  compare(key: string, version: number, data: Float32Array | undefined): void {
    if (this.#suspects.size >= SUSPECTS_MAX) return;
    if (this.#difference(key, version, data)) this.#suspects.add(key);
  }

  /** Looks at what differed once more, while no write is on its way, and tells of what still does. */
  async finish(findings: Findings): Promise<void> {
    const { database, columnFamily, config, partition } = this.#options;
    const keys = [...this.#suspects];
    if (keys.length === 0) return;
    const { namespace } = partition;
    await partition.exclusively(async () => {
      const [metadata, data] = await Promise.all(
        [METADATA_KIND, VECTOR_KIND].map((kind) =>
          database.multiGet(
            columnFamily,
            keys.map((key) => storeKey(kind, namespace, key)),
          ),
        ),
      );
      for (const [i, key] of keys.entries()) {
        if (!metadata || !data || metadata.entries[4 * i + 2] === ABSENT) continue;
        const { version } = decodeMetadata(valueAt(metadata, i));
        const stored = data.entries[4 * i + 2] === ABSENT ? undefined : decodeVector(valueAt(data, i)).data;
        const difference = this.#difference(key, version, stored);
        if (!difference) continue;
        findings.add(`Vector ${quote(key)} of namespace "${namespace}": ${difference}`, { index: config });
      }
    });
  }

  #difference(key: string, version: number, stored: Float32Array | undefined): string | undefined {
    const { config, partition } = this.#options;
    if (partition.isDisposed) return undefined;
    const { set } = partition;
    const ordinal = set.ordinalOf(key);
    if (ordinal === undefined) return "it is stored, but searches do not find it";
    const held = set.versionOf(key);
    if (held !== version) return `version ${version} is stored, searches find version ${held}`;
    const searched = set.dataOf(ordinal);
    if (!stored || !searched) return stored === searched ? undefined : "it has data in the store or in the graph only";
    const isSame = config.distanceMetric === "cosine" ? isNormalised : isEqual;
    return isSame(searched, stored) ? undefined : "its data in the graph is not what is stored";
  }
}

function isEqual(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, i) => Object.is(value, b[i]));
}

function isNormalised(normalised: Float32Array, stored: Float32Array): boolean {
  const norm = Math.hypot(...stored);
  return (
    normalised.length === stored.length &&
    normalised.every((value, i) => Math.abs(value - (stored[i] ?? 0) / norm) < NORMALISED_ERROR)
  );
}
