import { QuiverError } from "../../errors.ts";

/** What `work` resolves to; or `answer` when the namespace was never written to, which Pinecone tells of deletes alone. */
export async function orIfAbsent<Answer>(work: Promise<Answer>, answer: Answer): Promise<Answer> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof QuiverError && error.reason === "NAMESPACE_NOT_FOUND") return answer;
    throw error;
  }
}
