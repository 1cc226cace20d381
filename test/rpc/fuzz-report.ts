import type { FuzzRequest } from "./fuzz-requests.ts";

/** How long a request may go without an answer, and a connection without its end. */
export const BOUND_MS = 15_000;
const SHOWN_BYTES = 400;

/** What came of many requests. */
export class FuzzReport {
  requests = 0;
  /** Statuses of HTTP, and how often each was answered. */
  readonly statuses = new Map<string, number>();
  /** What must not be, with the batch that shows it again. */
  readonly problems: string[] = [];
}

/** What came of the requests of one batch, which are made from its seed. */
export class FuzzBatch {
  readonly #name: string;
  readonly #report: FuzzReport;

  constructor(name: string, report: FuzzReport) {
    this.#name = name;
    this.#report = report;
  }

  /** So many requests are sent now. */
  send(requests: number): void {
    this.#report.requests += requests;
  }

  answered(status: string): void {
    this.#report.statuses.set(status, (this.#report.statuses.get(status) ?? 0) + 1);
  }

  /** Looks for INTERNAL and UNKNOWN in an answer of any protocol. */
  read(answer: string, requests: readonly FuzzRequest[]): void {
    const fault = FAULT.exec(answer);
    if (fault) this.fail(`answered ${JSON.stringify(answer.slice(fault.index, fault.index + 300))}`, requests);
  }

  fail(problem: string, requests: readonly FuzzRequest[]): void {
    this.#report.problems.push(`${this.#name}: ${problem}; requests: ${requests.map(show).join(" | ")}`);
  }
}

const FAULT = /"code":\s*"(internal|unknown)"|grpc-status: ?(2|13)\b|HTTP\/1\.1 500/i;

function show({ verb, path, headers, body }: FuzzRequest): string {
  const shown = Buffer.from(body.subarray(0, SHOWN_BYTES)).toString("base64");
  return `${verb} ${path.slice(0, SHOWN_BYTES)} ${JSON.stringify(headers)} ${body.length} bytes ${shown}`.slice(
    0,
    1_500,
  );
}
