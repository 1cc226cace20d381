import { randomBytes } from "node:crypto";

/**
 * Chooses job ids: UUIDs of version 7 (RFC 9562) with a counter, so that their order as text is the order in which they
 * were chosen, even when the clock goes back.
 */
export class JobIds {
  #ms = 0;
  #counter = 0;

  /** Later ids are greater than this one, too. */
  notice(jobId: string): void {
    const hex = jobId.replaceAll("-", "");
    const ms = Number.parseInt(hex.slice(0, 12), 16);
    const counter = Number.parseInt(hex.slice(13, 16), 16);
    if (ms > this.#ms || (ms === this.#ms && counter > this.#counter)) [this.#ms, this.#counter] = [ms, counter];
  }

  next(now = Date.now()): string {
    if (now > this.#ms) [this.#ms, this.#counter] = [now, 0];
    else this.#counter += 1;
    if (this.#counter > COUNTER_MAX) [this.#ms, this.#counter] = [this.#ms + 1, 0];
    const random = randomBytes(8);
    // The variant: the bits 10.
    random.writeUInt8((random.readUInt8(0) & 0x3f) | 0x80, 0);
    const hex = `${hexOf(this.#ms, 12)}7${hexOf(this.#counter, 3)}${random.toString("hex")}`;
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
  }
}

const COUNTER_MAX = 0xfff;

function hexOf(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
