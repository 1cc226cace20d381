import assert from "node:assert/strict";
import { test } from "node:test";
import type { DistanceMetric, Index } from "../../src/engine/engine.ts";
import { QuiverError } from "../../src/errors.ts";
import { assertSparse } from "../../src/service/sparse.ts";

const FIELD = "vectors[3].sparse";
const POSITION_MAX = 0xffff_ffff;

test("Ascending positions with a finite value each are accepted", () => {
  check([0], [1]);
  check([0, 1, 7, POSITION_MAX], [-1, 0, 3.4e38, 1e-45]);
});

test("2,048 values are accepted, 2,049 are not", () => {
  const positions = (count: number) => Array.from({ length: count }, (_, i) => 3 * i);
  const ones = (count: number) => positions(count).map(() => 1);
  check(positions(2_048), ones(2_048));
  refused([positions(2_049), ones(2_049)], {
    reason: "SPARSE_INVALID",
    field: FIELD,
    says: /at most 2048 values, got 2049/,
  });
});

test("Sparse values without a value are refused", () => {
  refused([[], []], { reason: "SPARSE_INVALID", field: FIELD, says: /at least 1 value/ });
});

test("Lists of different lengths are refused", () => {
  refused([[1, 2], [1]], { reason: "SPARSE_INVALID", field: FIELD, says: /got 2 and 1/ });
  refused([[], [1]], { reason: "SPARSE_INVALID", field: FIELD, says: /got 0 and 1/ });
});

test("The first position that is not above the one before it is named", () => {
  const cases: [number[], number][] = [
    [[1, 1], 1],
    [[2, 1, 0], 1],
    [[0, 1, 2, 3, 4, 4, 3], 5],
    [[5, POSITION_MAX, 0], 2],
  ];
  for (const [indices, at] of cases) {
    const values = indices.map(() => 1);
    refused([indices, values], {
      reason: "SPARSE_INVALID",
      field: `${FIELD}.indices[${at}]`,
      says: /above the one before/,
    });
  }
});

test("The first value that is not finite as float32 is named", () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e39]) {
    const expected = { reason: "NON_FINITE_VALUE", field: `${FIELD}.values[2]`, says: /Must be finite/ };
    refused(
      [
        [0, 4, 5, 6],
        [1, 1, value, Number.NaN],
      ],
      expected,
    );
  }
});

test("Only an index of dot_product accepts sparse values", () => {
  for (const metric of ["cosine", "euclidean"] as const) {
    refused(
      [[0], [1]],
      { reason: "SPARSE_INVALID", field: FIELD, says: new RegExp(`"b/i" measures the ${metric}`) },
      metric,
    );
  }
});

function check(indices: readonly number[], values: readonly number[], distanceMetric: DistanceMetric = "dot_product") {
  const index: Index = {
    bucket: "b",
    index: "i",
    createdAt: 0,
    dimension: 2,
    distanceMetric,
    nonFilterableMetadataKeys: [],
    m: 16,
    efConstruction: 200,
    deletionProtection: false,
    tags: {},
  };
  assertSparse(FIELD, { indices: Uint32Array.from(indices), values: Float32Array.from(values) }, index);
}

function refused(
  [indices, values]: readonly [readonly number[], readonly number[]],
  expected: { readonly reason: string; readonly field: string; readonly says: RegExp },
  metric?: DistanceMetric,
): void {
  assert.throws(
    () => check(indices, values, metric),
    (error) => {
      assert.ok(error instanceof QuiverError);
      assert.equal(error.reason, expected.reason);
      assert.deepEqual(
        error.violations.map(({ field }) => field),
        [expected.field],
      );
      assert.match(error.violations[0]?.description ?? "", expected.says);
      return true;
    },
  );
}
