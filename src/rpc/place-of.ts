/** Fields that name by themselves what a request is about. */
const SOLE_NAMES = ["indexArn", "vectorBucketArn", "resourceArn", "jobId", "accessKeyId"];

/** What a request is about; "-" when it names nothing. */
export function placeOf(message: object): string {
  return nameIn(message) || "-";
}

function nameIn(message: object): string {
  const fields = message as Readonly<Record<string, unknown>>;
  const { vectorBucketName, indexName } = fields;
  for (const name of SOLE_NAMES) {
    const value = fields[name];
    if (typeof value === "string" && value !== "") return value;
  }
  if (typeof indexName === "string") return `${vectorBucketName}/${indexName}`;
  return typeof vectorBucketName === "string" ? vectorBucketName : "";
}
