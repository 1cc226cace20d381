import assert from "node:assert/strict";
import { test } from "node:test";
import { LargeMap } from "../../src/engine/embedded/metadata/large-map.ts";
import { OrdinalSet } from "../../src/engine/embedded/metadata/ordinal-set.ts";
import { countBits, intersect, ordinalsOf, uniteDifference } from "../../src/filter/bitmap.ts";
import { Random } from "../support/random.ts";

test("a set of ordinals holds what was added and not removed, however dense it is", (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  for (const span of [40, 1_000, 100_000]) {
    for (const share of [0.1, 0.5, 0.9]) {
      const set = new OrdinalSet();
      const expected = new Set<number>();
      for (let i = 0; i < 3_000; i++) {
        const ordinal = random.below(span);
        if (random.next() < share) {
          set.add(ordinal);
          expected.add(ordinal);
        } else {
          set.remove(ordinal);
          expected.delete(ordinal);
        }
        assert.equal(set.size, expected.size);
      }
      const bitmap = new Uint32Array(Math.ceil(span / 32));
      set.addTo(bitmap);
      assert.deepEqual(
        [...ordinalsOf(bitmap)],
        [...expected].sort((a, b) => a - b),
      );
    }
  }
});

test("a set of ordinals takes bytes in proportion to the smaller of its two forms", () => {
  const dense = new OrdinalSet();
  const sparse = new OrdinalSet();
  for (let ordinal = 0; ordinal < 100_000; ordinal++) {
    dense.add(ordinal);
    if (ordinal % 1_000 === 0) sparse.add(ordinal);
  }
  assert.ok(dense.bytes < 20_000, `${dense.bytes}`);
  assert.ok(sparse.bytes < 1_000, `${sparse.bytes}`);
});

test("the largest ordinals are held without memory for those below", () => {
  const set = new OrdinalSet();
  for (const ordinal of [0xffff_fffe, 0, 0x8000_0000]) set.add(ordinal);
  set.remove(0);
  assert.equal(set.size, 2);
  assert.ok(set.bytes < 1_000);
});

test("bitmaps are counted, and combined as though they were endless", () => {
  assert.equal(countBits(new Uint32Array([0xffff_ffff, 0, 0x8000_0001, 0x5555_5555])), 50);
  const target = new Uint32Array([0b1111, 0b1111]);
  intersect(target, new Uint32Array([0b0110]));
  assert.deepEqual([...target], [0b0110, 0]);
  uniteDifference(target, new Uint32Array([0b1010, 0b1]), new Uint32Array([0b0010]), 1);
  assert.deepEqual([...target], [0b0110, 0b1000]);
  uniteDifference(target, new Uint32Array([0b1]), new Uint32Array([0b1]), 5);
  assert.deepEqual([...target], [0b0110, 0b1000]);
});

test("a map of more entries than one Map may have works like one", (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const map = new LargeMap<string, number>(8);
  const expected = new Map<string, number>();
  for (let i = 0; i < 5_000; i++) {
    const key = `${random.below(60)}`;
    if (random.below(3) > 0) {
      map.set(key, i);
      expected.set(key, i);
    } else {
      map.delete(key);
      expected.delete(key);
    }
    const asked = `${random.below(60)}`;
    assert.equal(map.get(asked), expected.get(asked));
  }
});
