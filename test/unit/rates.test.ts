import assert from "node:assert/strict";
import { test } from "node:test";
import { QuiverError } from "../../src/errors.ts";
import { type RateLimits, Rates } from "../../src/service/rates.ts";
import { TokenBuckets } from "../../src/service/token-buckets.ts";
import { Random } from "../support/random.ts";

const NONE = { server: 0, bucket: 0, index: 0 };

/** Rates with a clock that stands until it is moved. */
function openRates(limits: Partial<RateLimits>) {
  const clock = { ms: 1_000_000 };
  return { clock, rates: new Rates({ requests: NONE, vectors: NONE, ...limits }, () => clock.ms) };
}

function refusal(call: () => void): QuiverError | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    assert.ok(error instanceof QuiverError && error.reason === "RATE_LIMIT", String(error));
    return error;
  }
}

test("a second's worth may come at once, then one at a time", () => {
  const { clock, rates } = openRates({ requests: { ...NONE, server: 4 } });
  for (let i = 0; i < 4; i++) rates.admitRequest({});
  for (let i = 0; i < 8; i++) {
    assert.equal(refusal(() => rates.admitRequest({}))?.retryAfterMs, 250);
    clock.ms += 249;
    assert.equal(refusal(() => rates.admitRequest({}))?.retryAfterMs, 1);
    clock.ms += 1;
    rates.admitRequest({});
  }
  clock.ms += 1e9;
  for (let i = 0; i < 4; i++) rates.admitRequest({});
  assert.ok(refusal(() => rates.admitRequest({})));
});

test("a refusal says which limit it was and how long to wait", () => {
  const { rates } = openRates({ requests: { ...NONE, bucket: 1 }, vectors: { ...NONE, index: 10 } });
  rates.admitRequest({ bucket: "b", index: "i" });
  const error = refusal(() => rates.admitRequest({ bucket: "b" }));
  assert.equal(error?.message, 'Too many requests: vector bucket "b" takes 1 a second; try again in 1000 ms');
  assert.deepEqual(error?.metadata, { max: "1", per: "second", scope: "bucket", unit: "requests" });
  assert.deepEqual(error?.resource, { type: "vector bucket", name: "b" });
  rates.admitRequest({});
  rates.admitRequest({ bucket: "other" });
  rates.admitVectors({ bucket: "b", index: "i" }, 10);
  const written = refusal(() => rates.admitVectors({ bucket: "b", index: "i" }, 1));
  assert.deepEqual(written?.metadata, { max: "10", per: "second", scope: "index", unit: "vectors" });
  assert.deepEqual(written?.resource, { type: "index", name: "b/i" });
});

test("a batch larger than a second's worth goes through at once, and those after it wait until it is paid", () => {
  const { clock, rates } = openRates({ vectors: { ...NONE, server: 100 } });
  const index = { bucket: "b", index: "i" };
  rates.admitVectors(index, 99);
  rates.admitVectors(index, 1_000);
  // 1 - 1,000 = -999 tokens; 1,000 more make one.
  assert.equal(refusal(() => rates.admitVectors(index, 1))?.retryAfterMs, 10_000);
  rates.admitVectors(index, 0);
  clock.ms += 9_999;
  assert.equal(refusal(() => rates.admitVectors(index, 1_000))?.retryAfterMs, 1);
  clock.ms += 1;
  rates.admitVectors(index, 1_000);
});

test("what one level refuses takes nothing from the others", () => {
  const { rates } = openRates({ requests: { server: 10, bucket: 5, index: 2 } });
  const call = (bucket: string, index: string) => refusal(() => rates.admitRequest({ bucket, index }))?.metadata.scope;
  const busy = Array.from({ length: 100 }, () => call("a", "busy"));
  assert.deepEqual([...new Set(busy)], [undefined, "index"]);
  // Two of the bucket's five and of the server's ten are gone, not more.
  assert.deepEqual(
    [call("a", "x"), call("a", "y"), call("a", "z"), call("a", "u")],
    [undefined, undefined, undefined, "bucket"],
  );
  const others = Array.from({ length: 7 }, (_, i) => call(`b${i}`, "i"));
  assert.deepEqual(others, [undefined, undefined, undefined, undefined, undefined, "server", "server"]);
});

test("of several limits the one that takes longest is told, so that waiting for it is enough", () => {
  const { clock, rates } = openRates({ requests: { server: 100, bucket: 1, index: 10 } });
  const call = () => rates.admitRequest({ bucket: "b", index: "i" });
  call();
  const error = refusal(call);
  assert.deepEqual([error?.metadata.scope, error?.retryAfterMs], ["bucket", 1_000]);
  clock.ms += 1_000;
  call();
});

test("no window of time admits more than a second's worth and its own length, whenever calls come", (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  for (const perSecond of [1, 3, 70, 5_000]) {
    const { clock, rates } = openRates({
      requests: { ...NONE, index: perSecond },
      vectors: { ...NONE, index: perSecond },
    });
    const index = { bucket: "b", index: "i" };
    const requests: number[] = [];
    const writes: { at: number; count: number }[] = [];
    for (let i = 0; i < 3_000; i++) {
      clock.ms += random.pick([0, 0, random.next() * (2_000 / perSecond), random.below(100) === 0 ? 5_000 : 0]);
      const error = refusal(() => rates.admitRequest(index));
      if (!error) requests.push(clock.ms);
      else if (random.below(10) === 0) {
        clock.ms += error.retryAfterMs ?? 0;
        rates.admitRequest(index);
        requests.push(clock.ms);
      }
      const count = 1 + random.below(random.pick([1, 3 * perSecond]));
      if (!refusal(() => rates.admitVectors(index, count))) writes.push({ at: clock.ms, count });
    }
    const allowed = (from: number, to: number) => perSecond * (1 + (to - from + 0.001) / 1_000) + 1e-6;
    for (let from = 0; from < requests.length; from += 7) {
      for (let to = from; to < Math.min(requests.length, from + 500); to++) {
        const [start, end] = [requests[from] ?? 0, requests[to] ?? 0];
        assert.ok(
          to - from + 1 <= allowed(start, end),
          `${to - from + 1} requests in ${end - start} ms at ${perSecond}/s`,
        );
      }
    }
    // Of vectors the last batch may be in debt; all before it must have fitted.
    let before = 0;
    for (const { at, count } of writes) {
      assert.ok(before <= allowed(writes[0]?.at ?? 0, at), `${before} vectors by ${at} at ${perSecond}/s`);
      before += count;
    }
    assert.ok(requests.length > 100 && writes.length > 1);
  }
});

test("names that callers invent are forgotten once they cost nothing", () => {
  let now = 0;
  const buckets = new TokenBuckets(10, () => now);
  let most = 0;
  buckets.take("debtor", 1_000_000);
  for (let i = 0; i < 200_000; i++) {
    now += 1;
    buckets.take(`invented-${i}`, 1);
    most = Math.max(most, buckets.size);
  }
  assert.ok(most <= 1_024, `${most} were kept`);
  assert.ok(buckets.waitMs("debtor") > 0, "the debt is forgotten");
  assert.equal(buckets.waitMs("invented-0"), 0);
});
