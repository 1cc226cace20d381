import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { allocateFile } from "../../../../native/rocksdb.ts";

export const HELD = "RESERVE";

/**
 * A part of the reserve that nobody else can take: the file RESERVE in the data directory, of blocks without content. It
 * is made only while the disk is nearly full, and given back when what is free has come to its end, so that deletes, and
 * a restart that has to write out the log, have room even when something else has filled the disk.
 */
export class HeldReserve {
  readonly #path: string;
  #bytes: number;

  private constructor(path: string, bytes: number) {
    this.#path = path;
    this.#bytes = bytes;
  }

  /** Finds what an earlier process held. */
  static async find(directory: string): Promise<HeldReserve> {
    const path = join(directory, HELD);
    const { blocks } = await stat(path).catch(() => ({ blocks: 0 }));
    return new HeldReserve(path, blocks * 512);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Does nothing where the file system cannot allocate blocks. */
  async hold(bytes: number): Promise<void> {
    await allocateFile(this.#path, bytes).then(
      () => {
        this.#bytes = bytes;
      },
      () => {},
    );
  }

  async giveBack(): Promise<void> {
    await rm(this.#path, { force: true });
    this.#bytes = 0;
  }
}
