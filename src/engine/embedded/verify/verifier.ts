import { QuiverError, shuttingDown } from "../../../errors.ts";
import { OneAtATime } from "../../../one-at-a-time.ts";
import type { Verification } from "../../engine.ts";
import { withCheckpoint } from "../backup/checkpoint.ts";
import { readHeaderOf } from "../backup/header.ts";
import { CATALOG, type Store } from "../storage/store.ts";
import type { VectorIndex } from "../vector-index.ts";
import { Findings } from "./findings.ts";
import { verifyAcknowledged, verifyCurrent, verifyManifest, verifyTables } from "./verify-files.ts";
import { verifyCatalog } from "./verify-others.ts";

export interface VerifierOptions {
  readonly store: Store;
  /** The data directory. */
  readonly data: string;
  /** Every index there is. */
  readonly indexes: () => readonly VectorIndex[];
}

/** Reads everything that is stored, beside whatever else goes on, and tells what is wrong with it. */
export class Verifier {
  readonly #options: VerifierOptions;
  readonly #turns = new OneAtATime();
  readonly #closing = new AbortController();

  constructor(options: VerifierOptions) {
    this.#options = options;
  }

  /** All, or `only` one index; one verification at a time. Ends with the signal's reason once that is aborted. */
  verify({
    only,
    signal,
  }: {
    readonly only: VectorIndex | undefined;
    readonly signal: AbortSignal;
  }): Promise<Verification> {
    const findings = new Findings(AbortSignal.any([signal, this.#closing.signal]));
    return this.#turns.run(() => this.#verify(only, findings));
  }

  /** Ends the verification under way. */
  async close(): Promise<void> {
    this.#closing.abort(shuttingDown());
    await this.#turns.idle();
  }

  async #verify(only: VectorIndex | undefined, findings: Findings): Promise<Verification> {
    await findings.pause();
    const { store, data, indexes } = this.#options;
    store.assertWritable();
    const lsn = await this.#verifyFiles(only, findings);
    if (!only) {
      await verifyCurrent(data, findings);
      await verifyAcknowledged(data, findings);
      await findings.collect(() => this.#verifyCatalog(findings));
    }
    for (const index of only ? [only] : indexes()) await index.verify(findings);
    return findings.at(lsn);
  }

  /** The tables, and what is needed to open them. The memtables become tables first. Answers the lsn of what it has read. */
  async #verifyFiles(only: VectorIndex | undefined, findings: Findings): Promise<number> {
    const { store, data, indexes } = this.#options;
    const acknowledged = store.lsn;
    const owners = new Map(indexes().map((index) => [index.record.columnFamily, index.config]));
    const selection = {
      columnFamily: only?.record.columnFamily,
      indexOf: (columnFamily: string) => owners.get(columnFamily),
    };
    let lsn = acknowledged;
    let hasCheckpoint = false;
    await findings.collect(() =>
      withCheckpoint(store.database, data, {
        purpose: "verify",
        use: async (checkpoint) => {
          hasCheckpoint = true;
          await verifyTables(checkpoint, selection, findings);
          if (only || !(await verifyManifest(checkpoint, findings))) return;
          const header = await readHeaderOf(checkpoint);
          lsn = header.lsn;
          if (lsn >= acknowledged) return;
          throw new QuiverError("CORRUPTION", `The store holds writes up to ${lsn}, acknowledged are ${acknowledged}`);
        },
      }),
    );
    // A table that is missing fails the checkpoint; the others may be damaged too.
    if (!hasCheckpoint) await verifyTables(data, selection, findings);
    return lsn;
  }

  async #verifyCatalog(findings: Findings): Promise<void> {
    const { database } = this.#options.store;
    const snapshot = database.snapshot();
    try {
      await verifyCatalog({ database, columnFamily: CATALOG, snapshot }, findings);
    } finally {
      snapshot.release();
    }
  }
}
