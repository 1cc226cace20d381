import type { ArnScope } from "../service/names.ts";
import type { Service } from "../service/service.ts";
import type { Facade } from "./facade.ts";
import { createMoorchehCloudFacade, createMoorchehOnPremFacade } from "./moorcheh/facade.ts";
import { createOssFacade } from "./oss/facade.ts";
import { createPineconeFacade } from "./pinecone/facade.ts";
import { createS3VectorsFacade } from "./s3vectors/facade.ts";

export interface FacadesOptions {
  /** Where indexes live of APIs that know no buckets. */
  readonly defaultBucket: string;
  /** How many vectors the default bucket may hold for Moorcheh's on-prem clients; 0: as many as fit. */
  readonly moorchehMaxItems: number;
  /** Where resources live in names that hold a region and an account. */
  readonly scope: ArnScope;
  /** Milliseconds since the epoch; signatures are bound to it. */
  now(): number;
}

/** Every API of another vendor that this server speaks. */
export function createFacades(service: Service, options: FacadesOptions): readonly Facade[] {
  return [
    // Its paths are below those of the on-prem API.
    createMoorchehCloudFacade(service, options),
    createMoorchehOnPremFacade(service, options),
    createPineconeFacade(service, options),
    createOssFacade(service, options),
    createS3VectorsFacade(service, options),
  ];
}
