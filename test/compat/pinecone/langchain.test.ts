import assert from "node:assert/strict";
import test from "node:test";
import { Embeddings } from "@langchain/core/embeddings";
import { PineconeStore } from "@langchain/pinecone";
import { Pinecone } from "@pinecone-database/pinecone";
import { startCompatServer } from "../support/compat-server.ts";
import { configuration } from "./clients.ts";

/** Counts letters: texts of the same letters are near to each other. */
class LetterEmbeddings extends Embeddings {
  constructor() {
    super({});
  }

  async embedDocuments(texts: string[]): Promise<number[][]> {
    return texts.map((text) => {
      const counts = new Array<number>(26).fill(0);
      for (const letter of text.toLowerCase()) {
        const at = letter.charCodeAt(0) - 97;
        if (at >= 0 && at < 26) counts[at] = (counts[at] ?? 0) + 1;
      }
      return counts;
    });
  }

  async embedQuery(text: string): Promise<number[]> {
    const [counts = []] = await this.embedDocuments([text]);
    return counts;
  }
}

test("LangChain's PineconeStore finds what it was given, also long texts, and forgets what it shall", async (t) => {
  const url = await startCompatServer(t);
  const client = new Pinecone(configuration({ url }));
  const spec = { serverless: { cloud: "aws", region: "us-east-1" } } as const;
  await client.createIndex({ name: "langchain", dimension: 26, metric: "cosine", spec });
  const pineconeIndex = client.index("langchain");
  const store = await PineconeStore.fromExistingIndex(new LetterEmbeddings(), { pineconeIndex, namespace: "docs" });
  const long = "zebra ".repeat(2_000);
  const texts = ["aaa bbb", "ccc ddd", long];
  const ids = texts.map((_, i) => `doc-${i}`);
  await store.addDocuments(
    texts.map((pageContent, i) => ({ pageContent, metadata: { page: i, tags: ["t"], source: { file: `f${i}` } } })),
    { ids },
  );

  const [found] = await store.similaritySearchWithScore("ab", 1);
  assert.equal(found?.[0].pageContent, "aaa bbb");
  assert.deepEqual(found?.[0].metadata, { page: 0, tags: ["t"], "source.file": "f0" });
  assert.ok(Math.abs((found?.[1] ?? 0) - 1) < 1e-5);

  const [zebra] = await store.similaritySearch("zebra", 1);
  assert.equal(zebra?.pageContent, long);
  const [filtered] = await store.asRetriever({ k: 1, filter: { page: { $gt: 0 } } }).invoke("cd ab");
  assert.equal(filtered?.pageContent, "ccc ddd");
  const diverse = await store.maxMarginalRelevanceSearch("zebra", { k: 2, fetchK: 3 });
  assert.equal(diverse.length, 2);

  await store.delete({ ids: ["doc-0"] });
  await store.delete({ filter: { page: 1 } });
  assert.deepEqual(
    (await pineconeIndex.namespace("docs").listPaginated()).vectors?.map(({ id }) => id),
    ["doc-2"],
  );
  await store.delete({ deleteAll: true });
  assert.deepEqual(await store.similaritySearch("zebra", 3), []);
});
