import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import type { SealedSecret } from "../../engine/engine.ts";
import { QuiverError } from "../../errors.ts";

const CIPHER = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Encrypts the secrets that signatures are checked with. A sealed secret opens for its own access key only. */
export class SecretsKey {
  readonly #key: Uint8Array;

  /** `key`: 32 bytes. */
  constructor(key: Uint8Array) {
    this.#key = key;
  }

  seal(accessKeyId: string, secret: string): SealedSecret {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.#key, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(Buffer.from(accessKeyId));
    const ciphertext = Buffer.concat([cipher.update(secret, "utf8"), cipher.final()]);
    const parts = { nonce, ciphertext, tag: cipher.getAuthTag() };
    return {
      nonce: parts.nonce.toString("base64"),
      ciphertext: parts.ciphertext.toString("base64"),
      tag: parts.tag.toString("base64"),
    };
  }

  /** Throws INVALID_FIELD, which names the options, when it was sealed with another key. */
  open(accessKeyId: string, { nonce, ciphertext, tag }: SealedSecret): string {
    try {
      const iv = Buffer.from(nonce, "base64");
      const decipher = createDecipheriv(CIPHER, this.#key, iv, { authTagLength: TAG_BYTES });
      decipher.setAAD(Buffer.from(accessKeyId));
      decipher.setAuthTag(Buffer.from(tag, "base64"));
      return decipher.update(ciphertext, "base64", "utf8") + decipher.final("utf8");
    } catch (cause) {
      throw new QuiverError(
        "INVALID_FIELD",
        `The key of --secrets-key-file or QUIVER_SECRETS_KEY cannot open the secret of access key "${accessKeyId}": give the one that it was sealed with`,
        { cause },
      );
    }
  }
}
