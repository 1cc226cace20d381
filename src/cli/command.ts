/** What a file of this directory exports for the command that it is named after. */
export interface Command {
  /** What --help prints: how to call it, and its options. */
  readonly help: string;
  /** Runs with the arguments after the command's name and resolves to the exit code; a QuiverError is told in one line. */
  run(args: readonly string[]): Promise<number>;
}
