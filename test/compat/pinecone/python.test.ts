import assert from "node:assert/strict";
import test from "node:test";
import { startCompatServer } from "../support/compat-server.ts";
import { runPython, WITH_PYTHON } from "../support/python.ts";

test("the Python client works over REST, and raises what its errors stand for", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t);
  const closed = await startCompatServer(t);
  await fetch(`${closed}/quiver.v1.AdminService/CreateAccessKey`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ role: "ACCESS_ROLE_ADMIN" }),
  });
  const {
    errors,
    protected: refusal,
    ...answers
  } = (await runPython("pinecone_rest.py", [url, closed])) as Record<string, unknown> & {
    errors: Record<string, [string, string]>;
    protected: [string, string];
  };
  const index = { name: "py", host: `${url}/pinecone/i/py`, ready: true };
  assert.deepEqual(answers, {
    created: { ...index, tags: { a: "b", c: "d" }, deletion_protection: "disabled" },
    dimension: 3,
    metric: "dotproduct",
    listed: ["py", "py-sparse"],
    configured: { ...index, tags: { c: "d", e: "f" }, deletion_protection: "enabled" },
    exists: [true, false],
    upserted: 3,
    query: [
      ["b", 3, [3, 2, 1], { genre: "y" }],
      ["a", 1, [1, 2, 3], { genre: "x", year: 2020 }],
    ],
    hybrid: [["c", 20]],
    fetched: { a: [1, 2, 3] },
    matched: 2,
    by_metadata: { a: { genre: "x", year: 2020, seen: true } },
    pages: [["a", "b"], ["c"]],
    stats: { dimension: 3, total: 3, namespaces: { ns: 3 } },
    namespaces: [
      ["empty", 0],
      ["ns", 3],
    ],
    namespace: 3,
    left: ["c"],
    after: [],
  });
  const raised = Object.entries({ ...errors, protected: refusal }).map(([what, [name]]) => [what, name]);
  assert.deepEqual(Object.fromEntries(raised), {
    exists: "ConflictError",
    unknown: "NotFoundError",
    dimension: "ApiError",
    namespace: "NotFoundError",
    "not offered": "ApiError",
    key: "UnauthorizedError",
    protected: "ForbiddenError",
  });
  assert.match(errors.dimension?.[1] ?? "", /Vector dimension 2 does not match the dimension of the index 3/);
  assert.match(errors["not offered"]?.[1] ?? "", /start_bulk_import is not offered/);
});
