import { DEFAULT_RPC_LIMITS } from "../../rpc/rpc-limits.ts";

/**
 * What OSS Vectors takes, by the pages of its API (help.aliyun.com, oss/developer-reference, 2026), where that is less than
 * the service takes. Sizes of metadata, filters and policies are those of the service.
 */
export const OSS_LIMITS = Object.freeze({
  bucketNameMin: 3,
  bucketNameMax: 32,
  indexNameMax: 63,
  dimensionDefault: 512,
  dimensionMax: 4_096,
  nonFilterableKeysMax: 10,
  nonFilterableKeyLengthMax: 63,
  filterableKeysMax: 10,
  putVectorsMax: 500,
  deleteKeysMax: 500,
  getKeysMax: 100,
  topKMax: 500,
  listVectorsMax: 1_000,
  segmentsMax: 16,
  listIndexesDefault: 100,
  listIndexesMax: 500,
  listBucketsDefault: 100,
  listBucketsMax: 1_000,
  /** Bytes of the body of a put: room for 500 vectors of 4,096 numbers as text. */
  putBytesMax: DEFAULT_RPC_LIMITS.maxJsonBytes,
  /** Bytes of any other body: room for 500 keys of 1,024 bytes with every character escaped. */
  bodyBytesMax: 4 * 1024 * 1024,
});
