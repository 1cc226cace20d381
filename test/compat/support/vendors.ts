import { CLOUD_OPERATIONS, ON_PREM_OPERATIONS } from "../moorcheh/operations.ts";
import { OPERATIONS as OSS } from "../oss/operations.ts";
import { OPERATIONS as PINECONE } from "../pinecone/operations.ts";
import { OPERATIONS as PINECONE_GRPC } from "../pinecone-grpc/operations.ts";
import { OPERATIONS as S3_VECTORS } from "../s3vectors/operations.ts";
import type { VendorTable } from "./compatibility-table.ts";

/** What the tests show of each API, in the order in which the page shows it. */
export const VENDORS: readonly VendorTable[] = [
  { title: "Amazon S3 Vectors", rows: S3_VECTORS },
  { title: "Pinecone, REST", rows: PINECONE },
  { title: "Pinecone, gRPC", rows: PINECONE_GRPC },
  { title: "Alibaba OSS Vectors", rows: OSS },
  { title: "Moorcheh, on-prem", rows: ON_PREM_OPERATIONS },
  { title: "Moorcheh, cloud", rows: CLOUD_OPERATIONS },
];
