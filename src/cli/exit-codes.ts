import { QuiverError, type Reason } from "../errors.ts";

/** Exit codes of the process; docs/guides/running.md lists them. A process that a signal ended has 128 + its number. */
export const EXIT_CODES = {
  /** It did what it was asked, or ended because it was told to. */
  ok: 0,
  /** It failed: a disk, or a defect. Another start may help. */
  failed: 1,
  /** An option or the environment is wrong, or the port is taken. */
  configuration: 2,
  /** Another process uses the data. */
  locked: 3,
  /** Data are damaged or missing. */
  damaged: 4,
} as const;

const OF_REASON: { readonly [Key in Reason]?: number } = {
  INVALID_FIELD: EXIT_CODES.configuration,
  STORAGE_LOCKED: EXIT_CODES.locked,
  CORRUPTION: EXIT_CODES.damaged,
};

/** The exit code that says what somebody has to mend. */
export function exitCodeOf(error: unknown): number {
  return (error instanceof QuiverError ? OF_REASON[error.reason] : undefined) ?? EXIT_CODES.failed;
}

/** Whether the same start would fail again until somebody mends something. */
export function isLasting(exitCode: number | null): boolean {
  const { configuration, locked, damaged } = EXIT_CODES;
  return exitCode !== null && ([configuration, locked, damaged] as number[]).includes(exitCode);
}
