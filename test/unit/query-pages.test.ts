import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ScoredVector } from "../../src/engine/engine.ts";
import { QuiverError } from "../../src/errors.ts";
import { QueryPages } from "../../src/service/query-pages.ts";

const OPTIONS = { answersMax: 3, idleMs: 1_000, readMs: 100, lifeMs: 5_000 };
const REQUEST = ["query", "a"];

/** An answer of so many results that knows whether it was closed, and can be told to wait before it reads. */
function answerOf(size: number) {
  const state = { closed: 0, wait: Promise.resolve() };
  const all: ScoredVector[] = Array.from({ length: size }, (_, i) => ({ key: `${i}`, version: 1, distance: i }));
  const rest = {
    size,
    read: async (from: number, count: number) => {
      await state.wait;
      if (state.closed > 0) throw new Error("Read after close");
      return all.slice(from, from + count);
    },
    close: () => void state.closed++,
  };
  return { state, answer: { plan: { strategy: "exact" as const, compared: size, exact: true }, lsn: 7, rest } };
}

function open(t: TestContext): QueryPages {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const pages = new QueryPages(OPTIONS);
  t.after(() => pages.close());
  return pages;
}

const isTokenInvalid = (part: RegExp) => (error: unknown) =>
  error instanceof QuiverError && error.reason === "PAGE_TOKEN_INVALID" && part.test(error.message);

const keysOf = ({ vectors }: { vectors: readonly ScoredVector[] }) => vectors.map(({ key }) => Number(key));

test("pages go on one after the other, and each can be read again", async (t) => {
  const pages = open(t);
  const { answer } = answerOf(7);
  const first = pages.keep(REQUEST, answer, 3);
  const second = await pages.read(REQUEST, first, 3);
  assert.deepEqual([keysOf(second), second.lsn, second.plan], [[3, 4, 5], 7, answer.plan]);
  const third = await pages.read(REQUEST, second.nextToken, 3);
  assert.deepEqual([keysOf(third), third.nextToken], [[6], ""]);
  assert.deepEqual(await pages.read(REQUEST, first, 3), second);
  assert.deepEqual(await pages.read(REQUEST, second.nextToken, 3), third);
});

test("a page that ends where the answer ends is the last one", async (t) => {
  const pages = open(t);
  const page = await pages.read(REQUEST, pages.keep(REQUEST, answerOf(6).answer, 3), 3);
  assert.deepEqual([keysOf(page), page.nextToken], [[3, 4, 5], ""]);
});

test("an answer lives so long after its last use, and is closed then", async (t) => {
  const pages = open(t);
  const { answer, state } = answerOf(9);
  const token = pages.keep(REQUEST, answer, 3);
  t.mock.timers.tick(999);
  await pages.read(REQUEST, token, 3);
  t.mock.timers.tick(999);
  assert.equal(state.closed, 0);
  t.mock.timers.tick(1);
  assert.deepEqual([state.closed, pages.size], [1, 0]);
  await assert.rejects(pages.read(REQUEST, token, 3), isTokenInvalid(/no longer kept/));
});

test("an answer that is read again and again lives only so long in all", async (t) => {
  const pages = open(t);
  const { answer, state } = answerOf(9);
  const token = pages.keep(REQUEST, answer, 3);
  for (let i = 0; i < 5; i++) {
    t.mock.timers.tick(999);
    await pages.read(REQUEST, token, 3);
  }
  assert.equal(state.closed, 0);
  t.mock.timers.tick(5);
  assert.deepEqual([state.closed, pages.size], [1, 0]);
});

test("an answer that was read to its end lives shorter, unless an earlier page is read again", async (t) => {
  const pages = open(t);
  const { answer, state } = answerOf(9);
  const token = pages.keep(REQUEST, answer, 3);
  const { nextToken } = await pages.read(REQUEST, token, 3);
  await pages.read(REQUEST, nextToken, 3);
  t.mock.timers.tick(99);
  await pages.read(REQUEST, token, 3);
  t.mock.timers.tick(999);
  await pages.read(REQUEST, nextToken, 3);
  t.mock.timers.tick(99);
  assert.equal(state.closed, 0);
  t.mock.timers.tick(1);
  assert.equal(state.closed, 1);
});

test("one answer more than there may be closes the one that was used least recently", async (t) => {
  const pages = open(t);
  const answers = [0, 1, 2].map(() => answerOf(9));
  const tokens = answers.map(({ answer }) => pages.keep(REQUEST, answer, 3));
  await pages.read(REQUEST, tokens[0] as string, 3);
  pages.keep(REQUEST, answerOf(9).answer, 3);
  assert.deepEqual([answers.map(({ state }) => state.closed), pages.size], [[0, 1, 0], 3]);
  await assert.rejects(pages.read(REQUEST, tokens[1] as string, 3), isTokenInvalid(/no longer kept/));
});

test("an answer that is being read is closed after that", async (t) => {
  const pages = open(t);
  const { answer, state } = answerOf(9);
  const gate = Promise.withResolvers<void>();
  state.wait = gate.promise;
  const token = pages.keep(REQUEST, answer, 3);
  const reads = [pages.read(REQUEST, token, 3), pages.read(REQUEST, token, 3)];
  t.mock.timers.tick(1_000);
  assert.deepEqual([state.closed, pages.size], [0, 0]);
  gate.resolve();
  for (const page of await Promise.all(reads)) assert.deepEqual(keysOf(page), [3, 4, 5]);
  assert.equal(state.closed, 1);
});

test("closing closes every answer, and those that come later", async (t) => {
  const pages = open(t);
  const [early, late] = [answerOf(9), answerOf(9)];
  pages.keep(REQUEST, early.answer, 3);
  pages.close();
  const token = pages.keep(REQUEST, late.answer, 3);
  assert.deepEqual([early.state.closed, late.state.closed, pages.size], [1, 1, 0]);
  await assert.rejects(pages.read(REQUEST, token, 3), isTokenInvalid(/no longer kept/));
});

test("a token is refused with another request, another position, or any other change", async (t) => {
  const pages = open(t);
  const token = pages.keep(REQUEST, answerOf(9).answer, 3);
  await assert.rejects(pages.read(["query", "b"], token, 3), isTokenInvalid(/same request/));
  for (const position of [0, 9, 10]) {
    const other = pages.keep(REQUEST, answerOf(9).answer, position);
    await assert.rejects(pages.read(REQUEST, other, 3), isTokenInvalid(/same request/));
  }
  for (const other of ["", "AAAA", `${token}A`, token.slice(0, -2), token.toLowerCase()]) {
    await assert.rejects(pages.read(REQUEST, other, 3), isTokenInvalid(/next_token/));
  }
});
