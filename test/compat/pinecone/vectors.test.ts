import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { startCompatServer } from "../support/compat-server.ts";
import { CLIENTS, type ClientVersion, SERVERLESS, search, type Vectors } from "./clients.ts";

type Metric = "cosine" | "euclidean" | "dotproduct";

let names = 0;

/** The clients keep an index's host by its name, also for other servers. */
function freshName(): string {
  return `i${names++}`;
}

async function openIndex(
  t: TestContext,
  { connect }: ClientVersion,
  { metric = "cosine" as Metric, dimension = 3 } = {},
): Promise<(namespace?: string) => Vectors> {
  const client = connect({ url: await startCompatServer(t) });
  const name = freshName();
  await client.createIndex({ name, dimension, metric, spec: SERVERLESS });
  return (namespace) => client.index(name, namespace);
}

for (const each of CLIENTS) {
  const { version } = each;

  test(`client ${version} upserts, fetches, updates, lists and deletes records`, async (t) => {
    const index = await openIndex(t, each);
    const records = index("ns1");
    await records.upsert([
      { id: "a", values: [1, 2, 3], metadata: { genre: "x", year: 2020, tags: ["p", "q"], ok: true } },
      { id: "b", values: [3, 2, 1], metadata: { genre: "y" } },
      { id: "a c/d.e:f@g![h]é", values: [1, 1, 1] },
    ]);
    const fetched = await records.fetch(["a", "nobody", "a c/d.e:f@g![h]é"]);
    assert.equal(fetched.namespace, "ns1");
    assert.ok((fetched.usage?.readUnits ?? 0) > 0);
    assert.deepEqual(JSON.parse(JSON.stringify(fetched.records)), {
      a: { id: "a", values: [1, 2, 3], metadata: { genre: "x", year: 2020, tags: ["p", "q"], ok: true } },
      "a c/d.e:f@g![h]é": { id: "a c/d.e:f@g![h]é", values: [1, 1, 1] },
    });

    await records.update({ id: "a", metadata: { year: 2021, isbn: "1" } });
    await records.update({ id: "b", values: [9, 9, 9] });
    await records.update({ id: "nobody", metadata: { year: 1 } });
    const updated = await records.fetch(["a", "b", "nobody"]);
    assert.deepEqual(Object.keys(updated.records), ["a", "b"]);
    assert.deepEqual(updated.records.a?.metadata, { genre: "x", year: 2021, tags: ["p", "q"], ok: true, isbn: "1" });
    assert.deepEqual(updated.records.b?.values, [9, 9, 9]);
    assert.deepEqual(updated.records.b?.metadata, { genre: "y" });

    // An upsert replaces the whole record; of two with one id the last one wins.
    await records.upsert([
      { id: "a", values: [7, 7, 7], metadata: { first: true } },
      { id: "a", values: [8, 8, 8], metadata: { last: true } },
    ]);
    const replaced = (await records.fetch(["a"])).records.a;
    assert.deepEqual(replaced?.values, [8, 8, 8]);
    assert.deepEqual(replaced?.metadata, { last: true });

    await records.deleteOne("a");
    await records.deleteMany(["b", "nobody"]);
    const left = await records.listPaginated({});
    assert.deepEqual(
      left.vectors?.map(({ id }) => id),
      ["a c/d.e:f@g![h]é"],
    );
    await records.deleteAll();
    assert.deepEqual((await records.listPaginated()).vectors, []);
    await assert.rejects(index("never").deleteAll(), { name: "PineconeNotFoundError" });
    await assert.rejects(index("never").deleteOne("a"), { name: "PineconeNotFoundError" });
    assert.deepEqual(await search(index("never"), { vector: [1, 2, 3], topK: 3 }), []);
  });

  test(`client ${version} deletes by filter`, async (t) => {
    const records = (await openIndex(t, each))();
    const years = [1, 2, 3, 4];
    await records.upsert(years.map((year) => ({ id: `${year}`, values: [year, 1, 1], metadata: { year } })));
    await records.deleteByFilter({ year: { $gt: 2 } });
    assert.deepEqual(Object.keys((await records.fetch(["1", "2", "3", "4"])).records), ["1", "2"]);
    await assert.rejects(records.deleteByFilter({ $nonsense: 1 }), { name: "PineconeBadRequestError" });
  });

  test(`client ${version} lists ids in pages, by prefix and in order of their bytes`, async (t) => {
    const records = (await openIndex(t, each))();
    const ids = ["doc1#é", "doc1#1", "doc1#10", "doc1#2", "doc1#Z", "doc1#a", "doc2#1"];
    await records.upsert(ids.map((id) => ({ id, values: [1, 2, 3] })));
    const listed: (string | undefined)[] = [];
    const sizes: number[] = [];
    for (let paginationToken: string | undefined; ; ) {
      const page = await records.listPaginated({
        prefix: "doc1#",
        limit: 4,
        ...(paginationToken && { paginationToken }),
      });
      listed.push(...(page.vectors ?? []).map(({ id }) => id));
      sizes.push(page.vectors?.length ?? 0);
      paginationToken = page.pagination?.next;
      if (!paginationToken) break;
    }
    const bytes = (id: string) => Buffer.from(id).toString("hex");
    const expected = ids.filter((id) => id.startsWith("doc1#")).sort((a, b) => (bytes(a) < bytes(b) ? -1 : 1));
    assert.deepEqual(listed, expected);
    assert.deepEqual(sizes, [4, 2]);
    await assert.rejects(records.listPaginated({ paginationToken: "Tm90" }), { name: "PineconeBadRequestError" });
  });

  test(`client ${version} queries by vector, by id and by filter, with the scores of each metric`, async (t) => {
    const points = { p: [1, 0, 0], q: [3, 4, 0], r: [-1, 2, 2] };
    const query = [2, 1, 0];
    // By hand: |p| = 1, |q| = 5, |r| = 3, |query|² = 5; products with the query: 2, 10, 0; differences: (1,1,0), (-1,-3,0), (3,-1,-2).
    const expected: Record<Metric, [string, number][]> = {
      cosine: [
        ["p", 2 / Math.sqrt(5)],
        ["q", 2 / Math.sqrt(5)],
        ["r", 0],
      ],
      dotproduct: [
        ["q", 10],
        ["p", 2],
        ["r", 0],
      ],
      euclidean: [
        ["p", Math.SQRT2],
        ["q", Math.sqrt(10)],
        ["r", Math.sqrt(14)],
      ],
    };
    for (const [metric, rows] of Object.entries(expected) as [Metric, [string, number][]][]) {
      const records = (await openIndex(t, each, { metric }))("s");
      await records.upsert(
        Object.entries(points).map(([id, values]) => ({ id, values, metadata: { id, n: values[0] ?? 0 } })),
      );
      const found = await search(records, { vector: query, topK: 10 });
      const scores = new Map(rows);
      assert.equal(found.length, 3, metric);
      for (const { id, score = Number.NaN } of found) {
        assert.ok(Math.abs(score - (scores.get(id) ?? Number.NaN)) < 1e-5, `${metric} ${id} has the score ${score}`);
      }
      if (metric !== "cosine") {
        assert.deepEqual(
          found.map(({ id }) => id),
          rows.map(([id]) => id),
        );
      }
      const byId = await search(records, { id: "q", topK: 1 });
      assert.equal(byId[0]?.id, "q", "a record is nearest to itself");
      assert.deepEqual(await search(records, { id: "nobody", topK: 3 }), []);

      const whole = await records.query({
        vector: query,
        topK: 3,
        includeValues: true,
        includeMetadata: true,
        filter: { id: { $in: ["p", "r"] }, n: { $lt: 0 } },
      });
      assert.equal(whole.namespace, "s");
      assert.ok((whole.usage?.readUnits ?? 0) > 0);
      assert.deepEqual(
        whole.matches.map(({ id, values, metadata }) => ({ id, values, metadata })),
        [{ id: "r", values: points.r, metadata: { id: "r", n: -1 } }],
      );
    }
  });

  test(`client ${version} adds dense and sparse products in a hybrid query`, async (t) => {
    const records = (await openIndex(t, each, { metric: "dotproduct", dimension: 2 }))();
    await records.upsert([
      { id: "both", values: [1, 0], sparseValues: { indices: [4_294_967_295, 7], values: [2, 0.5] } },
      { id: "dense", values: [3, 0] },
    ]);
    const fetched = (await records.fetch(["both"])).records.both;
    // In the order of the indices.
    assert.deepEqual(JSON.parse(JSON.stringify(fetched?.sparseValues)), {
      indices: [7, 4_294_967_295],
      values: [0.5, 2],
    });
    const vector = [1, 0];
    const sparseVector = { indices: [7, 4_294_967_295], values: [4, 1] };
    // 1 + 4 * 0.5 + 2 * 1 = 5, and 3.
    assert.deepEqual(await search(records, { vector, sparseVector, topK: 2 }), [
      { id: "both", score: 5 },
      { id: "dense", score: 3 },
    ]);
    // By its values alone.
    assert.deepEqual(await search(records, { id: "both", topK: 2 }), [
      { id: "dense", score: 3 },
      { id: "both", score: 1 },
    ]);
    await records.update({ id: "both", sparseValues: { indices: [1], values: [1] } });
    assert.deepEqual(await search(records, { vector, sparseVector, topK: 2 }), [
      { id: "dense", score: 3 },
      { id: "both", score: 1 },
    ]);
  });

  test(`client ${version} searches a sparse index, which takes no dense values`, async (t) => {
    const client = each.connect({ url: await startCompatServer(t) });
    const name = freshName();
    await client.createIndex({ name, vectorType: "sparse", metric: "dotproduct", spec: SERVERLESS });
    const records = client.index(name);
    await records.upsert([
      { id: "a", sparseValues: { indices: [1, 5], values: [1, 2] } },
      { id: "b", sparseValues: { indices: [5], values: [3] } },
    ]);
    const sparseVector = { indices: [5], values: [2] };
    const query = { topK: 5, sparseVector } as Parameters<Vectors["query"]>[0];
    assert.deepEqual(await search(records, query), [
      { id: "b", score: 6 },
      { id: "a", score: 4 },
    ]);
    assert.deepEqual(
      (await search(records, { id: "a", topK: 5 })).map(({ id }) => id),
      ["b", "a"],
    );
    await assert.rejects(records.upsert([{ id: "c", values: [1] }]), {
      name: "PineconeBadRequestError",
      message: /Dense values are not allowed on a sparse index/,
    });
    await assert.rejects(records.query({ vector: [1], topK: 1 }), { name: "PineconeBadRequestError" });
    const stats = await records.describeIndexStats();
    assert.equal(stats.totalRecordCount, 2);
    assert.equal(stats.dimension, undefined);
  });

  test(`client ${version} works with namespaces`, async (t) => {
    const index = await openIndex(t, each);
    const one = [{ id: "a", values: [1, 2, 3] }];
    await index("n1").upsert(one);
    await index("n2").upsert([...one, { id: "b", values: [1, 1, 1] }]);
    assert.deepEqual(
      (await index().listNamespaces()).namespaces?.map(({ name }) => name),
      ["n1", "n2"],
    );
    await index().upsert(one);
    // Both names of the default namespace mean the same.
    assert.deepEqual(Object.keys((await index("__default__").fetch(["a"])).records), ["a"]);
    const stats = await index().describeIndexStats();
    assert.deepEqual(JSON.parse(JSON.stringify(stats.namespaces)), {
      __default__: { recordCount: 1 },
      n1: { recordCount: 1 },
      n2: { recordCount: 2 },
    });
    assert.equal(stats.totalRecordCount, 4);
    assert.equal(stats.dimension, 3);

    const first = await index().listNamespaces(2);
    assert.deepEqual(
      first.namespaces?.map(({ name, recordCount }) => [name, Number(recordCount)]),
      [
        ["__default__", 1],
        ["n1", 1],
      ],
    );
    const second = await index().listNamespaces(2, first.pagination?.next);
    assert.deepEqual(
      second.namespaces?.map(({ name }) => name),
      ["n2"],
    );
    assert.equal(second.pagination?.next, undefined);
    if (version > 6) assert.deepEqual([first.totalCount, second.totalCount], [3, 3]);

    assert.equal(Number((await index().describeNamespace("n2")).recordCount), 2);
    await index().deleteNamespace("n2");
    await assert.rejects(index().describeNamespace("n2"), { name: "PineconeNotFoundError" });
    await assert.rejects(index().deleteNamespace("n2"), { name: "PineconeNotFoundError" });
  });

  const options = { skip: version > 6 ? false : "Its API version has none of these" };
  test(`client ${version} fetches and updates by metadata, and creates namespaces`, options, async (t) => {
    const index = await openIndex(t, each);
    const records = index("m");
    const { since2025 } = records;
    assert(since2025);
    await since2025.createNamespace({ name: "m", schema: { fields: { genre: { filterable: true } } } });
    await assert.rejects(since2025.createNamespace({ name: "m" }), { name: "PineconeConflictError" });
    const genres = ["x", "y", "x", "x"];
    await records.upsert(genres.map((genre, i) => ({ id: `r${i}`, values: [1, 2, i], metadata: { genre } })));
    const filter = { genre: { $eq: "x" } };
    const first = await since2025.fetchByMetadata({ filter, limit: 2 });
    assert.deepEqual(Object.keys(first.records), ["r0", "r2"]);
    const paginationToken = first.pagination?.next;
    assert(paginationToken);
    const second = await since2025.fetchByMetadata({ filter, limit: 2, paginationToken });
    assert.deepEqual(JSON.parse(JSON.stringify(second.records)), {
      r3: { id: "r3", values: [1, 2, 3], metadata: { genre: "x" } },
    });
    assert.equal(second.pagination?.next, undefined);

    await since2025.update({ filter, metadata: { seen: true } });
    const { records: seen } = await since2025.fetchByMetadata({ filter: { seen: true } });
    assert.deepEqual(Object.keys(seen), ["r0", "r2", "r3"]);
  });
}
