import { Pinecone } from "pinecone-8";

const pinecone = new Pinecone({ apiKey: "qk_QK6UX6HKVRWMGXZDO3BN_iUWiJ14fG33bRq2uWCXXWFEJsvq0oVeGi7ZbFWIn", controllerHostUrl: "http://localhost:42037/pinecone" });
const spec = { serverless: { cloud: "aws", region: "us-east-1" } };
const { host } = await pinecone.createIndex({ name: "papers", dimension: 3, metric: "cosine", spec });
const index = pinecone.index({ name: "papers", host });
await index.upsert({ records: [{ id: "a", values: [1, 0, 0], metadata: { year: 2026 } }] });
console.log((await index.query({ topK: 1, vector: [1, 0, 0], includeMetadata: true })).matches);
