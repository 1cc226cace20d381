import { createHash, type Hash } from "node:crypto";

/**
 * The sha-256 of a value in a canonical form: the properties of an object in any order, those that are undefined left
 * out; numbers of typed arrays by their bits. Different values differ in it.
 */
export function fingerprint(value: unknown): Buffer {
  const writer = new Writer();
  writer.write(value);
  return writer.digest();
}

/** Hashing a long text at once is much faster than hashing it word by word. */
const TEXT_LENGTH_MAX = 64 * 1024;

class Writer {
  readonly #hash: Hash = createHash("sha256");
  #text = "";

  write(value: unknown): void {
    if (ArrayBuffer.isView(value)) this.#bytes(value);
    else if (Array.isArray(value)) this.#list(value);
    else if (typeof value === "object" && value !== null) this.#object(value);
    // Each text says by itself where it ends, so no two values run together.
    else this.#add(typeof value === "string" ? JSON.stringify(value) : `${String(value)} `);
  }

  digest(): Buffer {
    return this.#hash.update(this.#text).digest();
  }

  #list(list: readonly unknown[]): void {
    this.#add(`[${list.length} `);
    for (const element of list) this.write(element);
  }

  #object(object: object): void {
    const entries = Object.entries(object).filter(([, value]) => value !== undefined);
    this.#add(`{${entries.length} `);
    for (const [key, value] of entries.sort(([a], [b]) => (a < b ? -1 : 1))) {
      this.write(key);
      this.write(value);
    }
  }

  #bytes({ buffer, byteOffset, byteLength }: ArrayBufferView): void {
    this.#add(`<${byteLength} `);
    this.#hash.update(this.#text).update(new Uint8Array(buffer, byteOffset, byteLength));
    this.#text = "";
  }

  #add(text: string): void {
    this.#text += text;
    if (this.#text.length < TEXT_LENGTH_MAX) return;
    this.#hash.update(this.#text);
    this.#text = "";
  }
}
