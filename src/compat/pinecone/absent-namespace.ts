import { orIf } from "../or-if.ts";

/** What `work` resolves to; or `answer` when the namespace was never written to, which Pinecone tells of deletes alone. */
export function orIfAbsent<Answer>(work: Promise<Answer>, answer: Answer): Promise<Answer> {
  return orIf("NAMESPACE_NOT_FOUND", work, answer);
}
