import { addon } from "../../../native/addon.ts";

/** What the process is doing; written to stderr if it crashes. */
export interface CrashNotes {
  /** Keeps a text until the returned function is called. Of more than 255 characters the first are kept. */
  add(text: string): () => void;
}

const SLOT_BYTES = 256;
/** More than calls in progress. Further ones are not noted. */
const SLOTS = 256;
/** The texts stand in JSON that a signal handler writes. */
const UNSAFE = /[^\w .:/-]/g;

let notes: CrashNotes | undefined;

/** The notes of this process; from the first call on, a crash writes them. */
export function openCrashNotes(): CrashNotes {
  notes ??= createNotes();
  return notes;
}

function createNotes(): CrashNotes {
  const slots = Buffer.alloc(SLOTS * SLOT_BYTES);
  addon.keepCrashNotes(slots);
  const free = Array.from({ length: SLOTS }, (_, i) => i * SLOT_BYTES);
  return {
    add(text) {
      const at = free.pop();
      if (at === undefined) return () => {};
      const safe = text.replace(UNSAFE, "?");
      slots[at] = slots.write(safe, at + 1, SLOT_BYTES - 1, "latin1");
      let isKept = true;
      return () => {
        if (!isKept) return;
        isKept = false;
        slots[at] = 0;
        free.push(at);
      };
    },
  };
}
