import { FILTER_LIMITS } from "../filter/limits.ts";

/**
 * Every limit of the native API, in one place; docs/reference/limits.md lists them and a test compares the two. The
 * vendors' facades narrow some of them. Sizes in bytes.
 */
export const LIMITS = {
  /** Bytes of a request, as protobuf. */
  requestBytesMax: 20 * 1024 * 1024,
  /** Characters of the name of a bucket, index or namespace. */
  nameLengthMax: 63,
  dimensionMax: 20_000,
  nonFilterableKeysMax: 10,
  nonFilterableKeyLengthMax: 63,
  tagsMax: 50,
  tagKeyLengthMax: 128,
  tagValueLengthMax: 256,
  /** Characters of what people call a backup or an access key. */
  displayNameLengthMax: 128,
  /** Access keys of one server, expired ones too. */
  accessKeysMax: 10_000,
  /** Places where one access key works. */
  accessScopesMax: 100,
  /** How long the secret from before a rotation may be let in: 7 days. */
  accessKeyOverlapSecondsMax: 604_800,
  /** Bytes of the access policy of a bucket. */
  policyBytesMax: 20_480,
  policyStatementsMax: 100,
  hnswMMin: 2,
  hnswMMax: 256,
  efConstructionMin: 8,
  efConstructionMax: 4_096,
  efSearchMax: 10_000,
  keyBytesMax: 1_024,
  sparseValuesMax: 2_048,
  metadataBytesMax: 40_960,
  filterableMetadataBytesMax: 2_048,
  metadataKeysMax: 50,
  metadataDepthMax: 16,
  ...FILTER_LIMITS,
  /** Vectors of one Put, changes of one Update, keys of one Get or Delete. */
  batchVectorsMax: 1_000,
  topKMax: 10_000,
  /** Results in one answer of a query. */
  queryPageMax: 1_000,
  /** Answers to queries that are kept for their later pages, on one server; one more ends the least recently used. */
  openAnswersMax: 128,
  /** How long such an answer is kept after its last use. */
  openAnswerIdleMs: 5 * 60 * 1_000,
  /** The same, once its last page was read. */
  openAnswerReadMs: 30 * 1_000,
  /** Milliseconds for which it is kept at most, however often it is read. */
  openAnswerLifeMs: 30 * 60 * 1_000,
  batchQueriesMax: 1_000,
  /** Queries, or stored vectors taken as such, of one measurement of recall. */
  recallQueriesMax: 1_000,
  /** Results of one query of a batch; all of them together have `topKMax`. */
  batchTopKMax: 1_000,
  /** Bytes after which the later queries of a batch are refused: of keys, data, sparse values and metadata. */
  batchAnswerBytesMax: 64 * 1024 * 1024,
  listPageMax: 1_000,
  listPageDefault: 500,
  /** A page of vectors stops after so many bytes. */
  listPageBytesMax: 1024 * 1024,
  segmentsMax: 16,
  /** Bytes of data in one answer; sparse values are not counted. */
  answerDataBytesMax: 16 * 1024 * 1024,
  pageTokenLengthMax: 4_096,
  idempotencyKeyLengthMax: 128,
  /** Jobs that are not finished, on one server. */
  jobsUnfinishedMax: 1_000,
  /** Bytes that unfinished jobs were started with, on one server. */
  jobsUnfinishedBytesMax: 1024 ** 3,
  /** How long a finished job is kept. */
  jobsKeptHours: 24,
  jobsKeptMax: 10_000,
  /** Bytes of the records of finished jobs. */
  jobsKeptBytesMax: 64 * 1024 * 1024,
  /** Refused vectors that a job lists. */
  jobErrorsMax: 100,
  /** Streams that follow jobs, on one server. */
  jobWatchesMax: 1_000,
  /** Streams that watch the health, which need no access key, on one server. */
  healthWatchesMax: 1_000,
  /** Imports, exports and watches of vectors at one time, on one server. */
  streamsMax: 256,
  /** Refused vectors that an import lists. */
  importErrorsMax: 1_000,
} as const;

/** What an index is built with, queries aim at, and recall is measured with, unless the request says otherwise. */
export const DEFAULTS = { hnswM: 16, efConstruction: 200, recallTarget: 0.95, recallSampleSize: 100 } as const;
