import type { Input } from "./input.ts";

/** Shown of every bucket and index. What is stored is as safe as the disk that it is on. */
export const ENCRYPTION = { sseType: "AES256" };

/** Takes what Amazon does by itself, and nothing that needs its key service. */
export function assertEncryption(input: Input): void {
  const encryption = input.input("encryptionConfiguration");
  if (encryption === undefined) return;
  const sseType = encryption.choice("sseType", ["AES256", "aws:kms"]);
  const kmsKeyArn = encryption.string("kmsKeyArn", { length: { min: 1, max: 2_048 } });
  const field = "encryptionConfiguration";
  if (sseType === "aws:kms") {
    input.rule(kmsKeyArn !== "", field, "kmsKeyArn must be specified when sseType is set to aws:kms");
    input.rule(false, `${field}/sseType`, "This server has no key management service (KMS): use sseType AES256");
  } else {
    input.rule(kmsKeyArn === "", field, "kmsKeyArn must not be specified when sseType is AES256.");
  }
}
