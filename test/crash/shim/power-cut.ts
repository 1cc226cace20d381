import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../../support/random.ts";

type Entry = { readonly kind: "file" | "directory"; readonly id: number };
type Directories = ReadonlyMap<number, ReadonlyMap<string, Entry>>;

/** A line of the journal: see durable.c. */
type Change =
  | { readonly type: "named"; readonly directory: number; readonly name: string; readonly entry: Entry }
  | { readonly type: "unnamed"; readonly directory: number; readonly name: string }
  | { readonly type: "renamed"; readonly directory: number; readonly name: string; readonly to: Target }
  | { readonly type: "synced"; readonly directory: number };
type Target = { readonly directory: number; readonly name: string };

export interface PowerCut {
  readonly tree: string;
  /** SHIM_STATE of the process that wrote to the tree and has ended. */
  readonly state: string;
  /** With it, parts of what was not durable survive: sectors of files, and the first changes of each directory. */
  readonly random: Random | undefined;
}

/** Makes of the tree what a power cut leaves of it. */
export function cutPower({ tree, state, random }: PowerCut): void {
  const directories = survivingNames(readJournal(state), random);
  const contents = new Map<number, string>();
  const pathOf = (inode: number) => {
    const path = contents.get(inode) ?? survivingContent(state, inode, random);
    contents.set(inode, path);
    return path;
  };
  const left = join(state, "left");
  const make = (directory: number, path: string) => {
    mkdirSync(path);
    for (const [name, { kind, id }] of directories.get(directory) ?? []) {
      if (kind === "directory") make(id, join(path, name));
      else linkSync(pathOf(id), join(path, name));
    }
  };
  make(0, left);
  rmSync(tree, { recursive: true });
  renameSync(left, tree);
}

function readJournal(state: string): Change[] {
  const lines = readFileSync(join(state, "journal"), "utf8").split("\n");
  return lines.slice(0, -1).map((line) => {
    const [type, ...rest] = line.split(" ");
    const directory = Number(rest[0]);
    switch (type) {
      case "N": {
        const entry: Entry = { kind: rest[1] === "d" ? "directory" : "file", id: Number(rest[2]) };
        return { type: "named", directory, name: rest.slice(3).join(" "), entry };
      }
      case "U":
        return { type: "unnamed", directory, name: rest.slice(1).join(" ") };
      case "R": {
        const [from, to] = rest.slice(2).join(" ").split("\t") as [string, string];
        return { type: "renamed", directory, name: from, to: { directory: Number(rest[1]), name: to } };
      }
      case "S":
        return { type: "synced", directory };
    }
    throw new Error(`The journal holds "${line}"`);
  });
}

/** What every directory holds after the changes that survive: those before its last sync, and the first of the others. */
function survivingNames(changes: readonly Change[], random: Random | undefined): Directories {
  const ends = new Map<number, number>();
  changes.forEach(({ type, directory }, at) => {
    if (type === "synced") ends.set(directory, at);
  });
  if (random) {
    for (const directory of directoriesOf(changes)) {
      const end = ends.get(directory) ?? 0;
      ends.set(directory, end + random.below(changes.length - end + 1));
    }
  }
  const survives = (directory: number, at: number) => at < (ends.get(directory) ?? 0);
  const names = new Map<number, Map<string, Entry>>();
  const namesOf = (directory: number) => names.get(directory) ?? new Map<string, Entry>();
  const set = (directory: number, name: string, entry: Entry) =>
    void names.set(directory, namesOf(directory).set(name, entry));
  changes.forEach((change, at) => {
    const { type, directory } = change;
    switch (type) {
      case "named":
        if (survives(directory, at)) set(directory, change.name, change.entry);
        break;
      case "unnamed":
        if (survives(directory, at)) namesOf(directory).delete(change.name);
        break;
      case "renamed": {
        const { name, to } = change;
        const entry = namesOf(directory).get(name);
        // File systems with a journal keep both halves or none.
        if (!entry || !(survives(directory, at) || survives(to.directory, at))) break;
        namesOf(directory).delete(name);
        set(to.directory, to.name, entry);
      }
    }
  });
  return names;
}

function directoriesOf(changes: readonly Change[]): Set<number> {
  return new Set(
    changes.flatMap((change) => ("to" in change ? [change.directory, change.to.directory] : [change.directory])),
  );
}

/** A path to what survives of a file. */
function survivingContent(state: string, inode: number, random: Random | undefined): string {
  const live = join(state, "live", String(inode));
  const durable = join(state, "durable", String(inode));
  if (!existsSync(durable)) return live;
  if (!random) return durable;
  const [written, synced] = [readFileSync(live), readFileSync(durable)];
  if (written.equals(synced)) return durable;
  const torn = join(state, `torn-${inode}`);
  writeFileSync(torn, tear(synced, written, random));
  return torn;
}

/** Takes each sector from one or the other. */
function tear(synced: Buffer, written: Buffer, random: Random): Buffer {
  const sector = random.pick([512, 4096]);
  const share = random.pick([0.1, 0.5, 0.9, 1]);
  const sectors = Math.floor(Math.max(written.length - synced.length, 0) / sector);
  const between = synced.length + sector * random.below(sectors + 1);
  const length = random.pick([synced.length, written.length, between]);
  const torn = Buffer.alloc(length);
  for (let at = 0; at < length; at += sector) {
    const survivor = random.next() < share ? written : synced;
    torn.set(survivor.subarray(at, Math.min(at + sector, length)), at);
  }
  return torn;
}
