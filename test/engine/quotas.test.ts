import assert from "node:assert/strict";
import { test } from "node:test";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import { QuiverError } from "../../src/errors.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const none = { server: 0, bucket: 0, index: 0 };
const CAPS = { vectors: 12, bytes: 6_000 };

for (const unit of ["vectors", "bytes"] as const) {
  test(`writes of the same keys side by side never pass a cap of ${unit}`, async (t) => {
    const random = new Random();
    t.diagnostic(`seed ${random.seed}`);
    t.after(() => engine.close());
    const engine = await openEmbeddedEngine({
      path: temporaryDirectory(),
      quotas: { vectors: none, bytes: none, indexes: none, [unit]: { ...none, server: CAPS[unit] } },
      onBackgroundError: (message, error) => {
        throw new Error(message, { cause: error });
      },
    });
    await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
    const ref = { bucket: "b", index: "i", namespace: "" };
    const settings = { nonFilterableMetadataKeys: ["text"], m: 16, efConstruction: 200, deletionProtection: false };
    const config = { createdAt: 1, dimension: 2, distanceMetric: "euclidean" as const, tags: {} };
    await engine.createIndex({ bucket: "b", index: "i", ...config, ...settings });

    const vector = (key: string, length: number) => ({
      key,
      data: Float32Array.of(1, 2),
      metadata: { text: "x".repeat(length) },
    });
    const tooMany = Array.from({ length: CAPS.vectors + 1 }, (_, i) => vector(`more-${i}`, 1_000));
    /** What is taken, with what writes under way have reserved: the error of a put that cannot fit says it. */
    const taken = async () => {
      const error = await engine.assertRoom(ref, tooMany).then(
        () => assert.fail("There is room for too many"),
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof QuiverError && error.reason === "ITEM_LIMIT", String(error));
      return Number(error.metadata.current);
    };
    let refused = 0;
    let most = 0;
    const writers = Array.from({ length: 32 }, async () => {
      for (let i = 0; i < 150; i++) {
        const keys = [...new Set(Array.from({ length: 1 + random.below(4) }, () => `k${random.below(16)}`))];
        const write = random.below(3)
          ? engine.putVectors(
              ref,
              keys.map((key) => vector(key, random.pick([0, 100, 1_500]))),
            )
          : engine.deleteVectors(ref, { kind: "keys", keys });
        await write.catch((error: unknown) => {
          assert.ok(error instanceof QuiverError && error.reason === "ITEM_LIMIT", String(error));
          refused++;
        });
        const current = await taken();
        assert.ok(current <= CAPS[unit], `${current} of ${CAPS[unit]} ${unit}`);
        most = Math.max(most, current);
      }
    });
    await Promise.all(writers);
    assert.ok(refused > 100, `only ${refused} were refused`);
    assert.ok(most > 0.9 * CAPS[unit], `at most ${most} were taken`);
    await engine.deleteVectors(ref, { kind: "all" });
    assert.equal(await taken(), 0);
  });
}
