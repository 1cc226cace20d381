import assert from "node:assert/strict";
import { test } from "node:test";
import { type Call, isLinearizable } from "../support/linearizable.ts";
import { Random } from "../support/random.ts";
import { ABSENT, type RegisterOperation, register } from "../support/register.ts";

type RegisterCall = Call<RegisterOperation>;

const put = (value: number): RegisterOperation => ({ kind: "put", value });
const read = (answer: number): RegisterOperation => ({ kind: "read", answer });
const remove = (wasThere: boolean | undefined): RegisterOperation => ({ kind: "delete", wasThere });
const compareAndPut = (expected: number, value: number, done: boolean | undefined): RegisterOperation => ({
  kind: "compareAndPut",
  expected,
  value,
  done,
});
const at = (invoked: number, returned: number, operation: RegisterOperation) => ({ operation, invoked, returned });
const open = (invoked: number, operation: RegisterOperation) => at(invoked, Number.POSITIVE_INFINITY, operation);

const KNOWN: readonly { what: string; calls: readonly RegisterCall[]; linearizable: boolean }[] = [
  { what: "no calls", calls: [], linearizable: true },
  { what: "a read of what was put before", calls: [at(0, 1, put(1)), at(2, 3, read(1))], linearizable: true },
  {
    what: "a read that misses what was put before",
    calls: [at(0, 1, put(1)), at(2, 3, read(ABSENT))],
    linearizable: false,
  },
  { what: "a read beside a put, before it", calls: [at(0, 3, put(1)), at(1, 2, read(ABSENT))], linearizable: true },
  { what: "a read beside a put, after it", calls: [at(0, 3, put(1)), at(1, 2, read(1))], linearizable: true },
  { what: "a value that nobody put", calls: [at(0, 1, put(1)), at(2, 3, read(7))], linearizable: false },
  {
    what: "two reads that see two puts in opposite orders",
    calls: [at(0, 9, put(1)), at(0, 9, put(2)), at(1, 2, read(1)), at(3, 4, read(2)), at(5, 6, read(1))],
    linearizable: false,
  },
  {
    what: "a read that goes back behind another read",
    calls: [at(0, 9, put(1)), at(1, 2, read(1)), at(3, 4, read(ABSENT))],
    linearizable: false,
  },
  {
    what: "an open put that is seen much later",
    calls: [open(0, put(1)), at(5, 6, read(ABSENT)), at(7, 8, read(1))],
    linearizable: true,
  },
  { what: "an open put that is never seen", calls: [open(0, put(1)), at(5, 6, read(ABSENT))], linearizable: true },
  {
    what: "an open put that comes and goes",
    calls: [open(0, put(1)), at(1, 2, read(1)), at(3, 4, read(ABSENT))],
    linearizable: false,
  },
  {
    what: "an open put that is seen before it was invoked",
    calls: [at(0, 1, read(1)), open(2, put(1))],
    linearizable: false,
  },
  {
    what: "an open delete beside a put",
    calls: [at(0, 1, put(1)), open(2, remove(undefined)), at(3, 4, read(ABSENT))],
    linearizable: true,
  },
  {
    what: "a delete that says it found nothing",
    calls: [at(0, 1, put(1)), at(2, 3, remove(false))],
    linearizable: false,
  },
  {
    what: "two deletes that both found one value",
    calls: [at(0, 1, put(1)), at(2, 5, remove(true)), at(3, 4, remove(true))],
    linearizable: false,
  },
  {
    what: "two conditional puts on one value that were both done",
    calls: [at(0, 1, put(1)), at(2, 5, compareAndPut(1, 2, true)), at(3, 4, compareAndPut(1, 3, true))],
    linearizable: false,
  },
  {
    what: "two conditional puts on one value, the later one refused",
    calls: [at(0, 1, put(1)), at(2, 5, compareAndPut(1, 2, true)), at(3, 4, compareAndPut(1, 3, false))],
    linearizable: true,
  },
  {
    what: "a conditional put that was refused though its condition held",
    calls: [at(0, 1, put(1)), at(2, 3, compareAndPut(1, 2, false))],
    linearizable: false,
  },
  {
    what: "an open conditional put that was done",
    calls: [at(0, 1, put(1)), open(2, compareAndPut(1, 2, undefined)), at(3, 4, read(2))],
    linearizable: true,
  },
];

for (const { what, calls, linearizable } of KNOWN) {
  test(`${what} ${linearizable ? "can" : "cannot"} be linearized`, () => {
    assert.equal(isLinearizable(calls, ABSENT, register), linearizable);
    assert.equal(hasOrder(calls), linearizable, "by trying every order");
  });
}

test("random histories are judged as trying every order judges them", (t) => {
  const random = new Random();
  const judged = { linearizable: 0, not: 0 };
  for (let i = 0; i < 3_000; i++) {
    const calls = randomCalls(random);
    const expected = hasOrder(calls);
    judged[expected ? "linearizable" : "not"]++;
    const told = `QUIVER_TEST_SEED=${random.seed}, history ${i}: ${JSON.stringify(calls)}`;
    assert.equal(isLinearizable(calls, ABSENT, register), expected, told);
  }
  t.diagnostic(`seed ${random.seed}, ${JSON.stringify(judged)}`);
  assert.ok(judged.linearizable > 300 && judged.not > 300);
});

test("a long history with many open calls is judged", () => {
  const calls = Array.from({ length: 40 }, (_, i) => open(i, put(i + 1)));
  const reads = Array.from({ length: 40 }, (_, i) => at(100 + i, 100.5 + i, read(i + 1)));
  assert.ok(isLinearizable([...calls, ...reads], ABSENT, register));
  assert.ok(!isLinearizable([...calls.slice(0, 12), ...reads.slice(0, 12), at(200, 201, read(1))], ABSENT, register));
});

function randomCalls(random: Random): RegisterCall[] {
  const value = () => random.below(4);
  return Array.from({ length: 1 + random.below(6) }, (_, i): RegisterCall => {
    const invoked = random.below(12);
    const isOpen = random.below(6) === 0;
    const operation = random.pick<() => RegisterOperation>([
      () => put(i + 1),
      () => read(value()),
      () => remove(isOpen ? undefined : random.below(2) === 0),
      () => compareAndPut(value(), i + 1, isOpen ? undefined : random.below(2) === 0),
    ])();
    return isOpen ? open(invoked, operation) : at(invoked, invoked + 1 + random.below(8), operation);
  });
}

/** The definition: tries every order of the calls, without every part of the open ones. */
function hasOrder(calls: readonly RegisterCall[]): boolean {
  const extend = (state: number, left: readonly RegisterCall[]): boolean => {
    if (left.every(({ returned }) => returned === Number.POSITIVE_INFINITY)) return true;
    return left.some((call) => {
      if (left.some((other) => other.returned < call.invoked)) return false;
      const next = register(state, call.operation);
      const others = left.filter((other) => other !== call);
      if (next !== undefined && extend(next, others)) return true;
      return call.returned === Number.POSITIVE_INFINITY && extend(state, others);
    });
  };
  return extend(ABSENT, calls);
}
