import type { QuiverError, Reason } from "../../../errors.ts";
import type { Health, HealthState } from "../../engine.ts";

/** With these, everything that is stored is still read. */
const READ_ONLY: ReadonlySet<Reason> = new Set(["DISK_FULL", "MEMORY_FULL", "STORAGE_READ_ONLY"]);

/** What is wrong with the parts of the engine, told by themselves: "storage", "damage", "disk", "memory", "index b/i". */
export class HealthReport {
  readonly #problems = new Map<string, QuiverError>();
  readonly #onChange: (health: Health) => void;

  /** `onChange` hears each change of the state. */
  constructor(onChange: (health: Health) => void) {
    this.#onChange = onChange;
  }

  get health(): Health {
    return { state: this.#state, problems: [...this.#problems.values()] };
  }

  /** A part has this problem now; with undefined it is well. */
  set(part: string, problem: QuiverError | undefined): void {
    const before = this.#state;
    if (problem) this.#problems.set(part, problem);
    else this.#problems.delete(part);
    if (this.#state !== before) this.#onChange(this.health);
  }

  get #state(): HealthState {
    const problems = [...this.#problems.values()];
    if (problems.length === 0) return "healthy";
    const isIndex = this.#problems.keys().some((part) => part.startsWith("index "));
    return !isIndex && problems.every(({ reason }) => READ_ONLY.has(reason)) ? "read_only" : "failed";
  }
}
