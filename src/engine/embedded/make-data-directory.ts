import { QuiverError } from "../../errors.ts";
import { makeDirectory } from "./storage/directory.ts";

/** Makes a data directory if it is not there; its parent must be. Throws INVALID_FIELD when it cannot. */
export async function makeDataDirectory(path: string): Promise<void> {
  await makeDirectory(path).catch((cause: NodeJS.ErrnoException) => {
    const problem = cause.code === "ENOENT" ? `its parent is not there (${cause.message})` : cause.message;
    const message = `Cannot make the data directory "${path}": ${problem}; choose another with --data`;
    throw new QuiverError("INVALID_FIELD", message, { cause });
  });
}
