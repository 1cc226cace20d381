import { createGunzip } from "node:zlib";
import { OneAtATime } from "../one-at-a-time.ts";

/** Of all calls: what is unpacked may be a thousand times as large as what came, and a client may leave meanwhile. */
const turns = new OneAtATime();
const CHUNK_BYTES = 64 * 1024;

/** Unpacks bytes. `reserve` is told of what comes out before more does; what it throws ends it. */
export function gunzip(packed: Uint8Array, reserve: (bytes: number) => void): Promise<Buffer> {
  return turns.run(async () => {
    // The call may have ended while it waited.
    reserve(0);
    const chunks: Buffer[] = [];
    const unpacked = createGunzip({ chunkSize: CHUNK_BYTES });
    unpacked.end(packed);
    for await (const chunk of unpacked) {
      reserve(chunk.length);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  });
}
