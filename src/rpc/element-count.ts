import { QuiverError } from "../errors.ts";

export interface ElementLimits {
  /** The most fields, elements and map entries of one message, at every depth. */
  readonly maxFields: number;
  /** The most numbers in lists of numbers, which are cheaper than the rest. */
  readonly maxNumbers: number;
}

/** What a scan has found in one message; throws REQUEST_TOO_LARGE as soon as it is too much to decode. */
export class ElementCount {
  private fields = 0;
  private numbers = 0;
  private readonly limits: ElementLimits;

  constructor(limits: ElementLimits) {
    this.limits = limits;
  }

  addField(): void {
    this.fields += 1;
    if (this.fields > this.limits.maxFields) throw tooMany(this.limits.maxFields, "fields");
  }

  addNumbers(count: number): void {
    this.numbers += count;
    if (this.numbers > this.limits.maxNumbers) throw tooMany(this.limits.maxNumbers, "numbers in lists");
  }
}

function tooMany(max: number, what: string): QuiverError {
  const message = `Request message has more than ${max} ${what}, counted at every depth`;
  return new QuiverError("REQUEST_TOO_LARGE", message, { metadata: { max: String(max) } });
}
