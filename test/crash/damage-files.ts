import {
  appendFileSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { Random } from "../support/random.ts";

/** The kinds of files in a data directory, by their path in it. */
export const KINDS = {
  table: /^\d+\.sst$/,
  "write-ahead log": /^\d+\.log$/,
  manifest: /^MANIFEST-\d+$/,
  CURRENT: /^CURRENT$/,
  OPTIONS: /^OPTIONS-\d+$/,
  IDENTITY: /^IDENTITY$/,
  LOCK: /^LOCK$/,
  LOG: /^LOG(\.old\.\d+)?$/,
  ACKNOWLEDGED: /^ACKNOWLEDGED$/,
  graph: /^graphs\//,
  backup: /^backups\//,
} as const;
export type Kind = keyof typeof KINDS;

export const DAMAGES = ["bit flipped", "4 KiB zeroed", "truncated", "deleted", "garbage appended", "swapped"] as const;
export type Damage = (typeof DAMAGES)[number];

const ZEROED_BYTES = 4096;

/** Every file below a directory, by its path in it. */
export function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
}

/** The kind of a file; undefined: a file that no kind describes. */
export function kindOf(file: string): Kind | undefined {
  return (Object.keys(KINDS) as Kind[]).find((kind) => KINDS[kind].test(file));
}

/** Copies a directory. What nobody writes into is linked, but for the files that are to be damaged. */
export function copyDirectory(from: string, to: string, damaged: readonly string[] = []): void {
  for (const file of filesIn(from)) {
    mkdirSync(dirname(join(to, file)), { recursive: true });
    const isLinked = file.endsWith(".sst") && !damaged.includes(file);
    (isLinked ? linkSync : copyFileSync)(join(from, file), join(to, file));
  }
}

/** Damages a file, or two, and says how. */
export function damage(directory: string, files: readonly string[], kind: Damage, random: Random): string {
  const [path = "", other] = files.map((file) => join(directory, file));
  const { size } = statSync(path);
  switch (kind) {
    case "bit flipped": {
      const content = readFileSync(path);
      const at = random.below(size);
      const bit = random.below(8);
      content[at] = (content[at] ?? 0) ^ (1 << bit);
      if (size > 0) writeFileSync(path, content);
      return `bit ${bit} of byte ${at} of ${size}`;
    }
    case "4 KiB zeroed": {
      const content = readFileSync(path);
      const at = random.below(size);
      content.fill(0, at, Math.min(size, at + ZEROED_BYTES));
      writeFileSync(path, content);
      return `${ZEROED_BYTES} bytes from ${at} of ${size}`;
    }
    case "truncated": {
      const length = random.below(size);
      truncateSync(path, length);
      return `to ${length} of ${size} bytes`;
    }
    case "deleted":
      rmSync(path);
      return `${size} bytes`;
    case "garbage appended": {
      const garbage = Buffer.from(Array.from({ length: 1 + random.below(2 * ZEROED_BYTES) }, () => random.below(256)));
      appendFileSync(path, garbage);
      return `${garbage.length} bytes after ${size}`;
    }
    case "swapped":
      renameSync(path, `${path}.aside`);
      if (other) renameSync(other, path);
      renameSync(`${path}.aside`, other ?? path);
      return `with ${files[1]}`;
  }
}
