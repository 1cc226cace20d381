import type { QuiverError, Reason } from "../../errors.ts";

/** What Pinecone is known to say. */
const MESSAGES: Partial<Record<Reason, (error: QuiverError) => string>> = {
  DELETION_PROTECTED: () =>
    "Deletion protection is enabled for this index. Disable deletion protection before retrying.",
  NAMESPACE_NOT_FOUND: () => "Namespace not found",
  CREDENTIALS_INVALID: () => "Invalid API Key",
  DIMENSION_MISMATCH: ({ metadata: { given, dimension } }) =>
    `Vector dimension ${given} does not match the dimension of the index ${dimension}`,
};

/** The fields of the native API, at the begin of a path, and Pinecone's. */
const FIELDS: readonly (readonly [RegExp, string])[] = [
  [/^query_vector\.float32/, "vector"],
  [/^query_sparse/, "sparseVector"],
  [/^top_k/, "topK"],
  [/^next_token/, "paginationToken"],
  [/^(?:updates\[0\]\.)?set_metadata/, "setMetadata"],
  [/^(vectors\[\d+\]\.)data\.float32/, "$1values"],
  [/^(vectors\[\d+\]\.)sparse\b/, "$1sparseValues"],
  [/^(vectors\[\d+\]\.)key/, "$1id"],
  [/^updates\[0\]\.data\.float32/, "values"],
  [/^updates\[0\]\.sparse\b/, "sparseValues"],
  [/^updates\[0\]\.key/, "id"],
  [/^keys/, "ids"],
];

/** What an error says, in Pinecone's words where they are known, and with its names of fields. */
export function messageOf(error: QuiverError): string {
  const known = MESSAGES[error.reason];
  if (known) return known(error);
  const [violation] = error.violations;
  if (!violation || error.message !== `${violation.field}: ${violation.description}`) return error.message;
  const [pattern, name] = FIELDS.find(([pattern]) => pattern.test(violation.field)) ?? [];
  return pattern ? error.message.replace(pattern, name ?? "") : error.message;
}
