/** What Pinecone takes at most, from its database limits page and API specification 2026-04. Sizes in bytes. */
export const PINECONE_LIMITS = Object.freeze({
  indexNameLengthMax: 45,
  tagKeyLengthMax: 80,
  tagValueLengthMax: 120,
  /** Of a request's body. */
  requestBytesMax: 2 * 1024 * 1024,
  upsertRecordsMax: 1_000,
  idLengthMax: 512,
  idsMax: 1_000,
  topKMax: 10_000,
  /** Of ids, values and metadata in the answer to a query. */
  answerBytesMax: 4 * 1024 * 1024,
  listDefault: 100,
  /** Of lists of ids and of namespaces. Pinecone's page names none; this is the longest page of a native list. */
  listMax: 1_000,
  fetchByMetadataMax: 10_000,
});
