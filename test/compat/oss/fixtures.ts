import { readFileSync } from "node:fs";
import { join } from "node:path";

/** A request of alibabacloud-oss-v2 1.3.2 (Python) over an HTTP proxy, as it stood on the wire. */
export interface CapturedRequest {
  readonly name: string;
  /** The request line and the headers. */
  readonly head: readonly string[];
  readonly body: string;
}

export const CAPTURED = JSON.parse(
  readFileSync(join(import.meta.dirname, "fixtures/requests.json"), "utf8"),
) as CapturedRequest[];

/** What they are signed with, and when they were sent. */
export const CAPTURED_KEY = { id: "AKID", secret: "SECRET" };
export const CAPTURED_AT = Date.parse("2026-11-21T02:32:37Z");
