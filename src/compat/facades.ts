import type { Service } from "../service/service.ts";
import type { Facade } from "./facade.ts";

export interface FacadesOptions {
  /** Where indexes live of APIs that know no buckets. */
  readonly defaultBucket: string;
  /** Milliseconds since the epoch; signatures are bound to it. */
  now(): number;
}

/** Every API of another vendor that this server speaks. */
export function createFacades(_service: Service, _options: FacadesOptions): readonly Facade[] {
  return [];
}
