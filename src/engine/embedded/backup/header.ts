import { openDatabase, type StoreError } from "../../../../native/rocksdb.ts";
import { QuiverError } from "../../../errors.ts";
import { decodeHeader, HEADER_KEYS, type Header } from "../layout.ts";
import { CATALOG, damaged } from "../storage/store.ts";

const WRITE_BUFFER_BYTES = 32 * 1024 * 1024;

/**
 * Opens a database that nobody uses, which replays its write-ahead log and checks what RocksDB needs to open it, and
 * closes it again. CORRUPTION when it cannot be opened, or holds no Quiver data.
 */
export async function readHeaderOf(path: string): Promise<Header> {
  const database = await openDatabase(path, { dbWriteBufferBytes: WRITE_BUFFER_BYTES }).catch((error: StoreError) => {
    throw openingFailed(error);
  });
  try {
    const header = decodeHeader(await database.multiGet(CATALOG, HEADER_KEYS));
    if (header === undefined || header === "absent") {
      throw new QuiverError("CORRUPTION", `"${path}" holds no Quiver data, or its header is damaged`);
    }
    return header;
  } catch (error) {
    throw openingFailed(error as StoreError);
  } finally {
    await database.close();
  }
}

function openingFailed(error: StoreError | QuiverError): QuiverError {
  if (error instanceof QuiverError) return error;
  if (["CORRUPTION", "NOT_FOUND"].includes(error.code)) return damaged(error.message, error);
  return new QuiverError(error.code === "NO_SPACE" ? "DISK_FULL" : "INTERNAL", error.message, { cause: error });
}
