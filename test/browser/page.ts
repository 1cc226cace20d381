import { Quiver } from "@quiver/client";

/** Does the tour in a page and leaves the outcome in its text. */
async function visit(url: string): Promise<string> {
  const quiver = new Quiver({ url });
  const bucket = quiver.bucket("browser");
  const index = bucket.index("colors");
  await bucket.create();
  await index.create({ dimension: 3, distanceMetric: "euclidean" });
  await index.put([
    { key: "red", data: [1, 0, 0] },
    { key: "orange", data: Float32Array.of(1, 0.5, 0), metadata: { warm: true } },
  ]);
  const { vectors } = await index.query([1, 0.4, 0], { topK: 2 });
  const [orange] = await index.get(["orange"]);
  const deleted = await index.deleteVectors(["red"]);
  const left: string[] = [];
  for await (const { key } of index.list()) left.push(key);
  await index.delete();
  await bucket.delete();
  return JSON.stringify({ near: vectors.map(({ key }) => key), metadata: orange?.metadata, deleted, left });
}

const { hash } = location;
visit(decodeURIComponent(hash.slice(1))).then(
  (outcome) => document.body.append(outcome),
  (error: unknown) => document.body.append(`failed: ${error}`),
);
