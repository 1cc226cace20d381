import { QuiverError, type Reason } from "../errors.ts";

/** What `work` resolves to; or `answer` when it rejects for that reason. */
export async function orIf<Answer, Other>(
  reason: Reason,
  work: Promise<Answer>,
  answer: Other,
): Promise<Answer | Other> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof QuiverError && error.reason === reason) return answer;
    throw error;
  }
}
