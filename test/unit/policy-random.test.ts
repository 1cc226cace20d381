import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { QuiverError } from "../../src/errors.ts";
import { parsePolicy } from "../../src/service/access/parse-policy.ts";
import { decide, type Policy, type Statement } from "../../src/service/access/policy.ts";
import { PolicyCases } from "../support/policy-cases.ts";
import { PolicyOracle } from "../support/policy-oracle.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";

const POLICIES = rounds("POLICIES", { quick: 20_000, full: 1_000_000 });
const REQUESTS_PER_POLICY = 8;

test(`${POLICIES} random requests are decided as the JSON of their policies says`, (t: TestContext) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const { counts, difference } = compare(random, POLICIES, decide);
  t.diagnostic(JSON.stringify(counts));
  assert.equal(difference, undefined);
  for (const decision of ["allow", "deny", "undefined", "refused"]) {
    assert.ok((counts[decision] ?? 0) > POLICIES / 50, `${decision} ${counts[decision]} times`);
  }
});

suite("a wrong engine is noticed that", () => {
  const changed = (change: (statement: Statement) => Partial<Statement>): typeof decide => {
    return (policy, request) => {
      const statements = policy.statements.map((statement) => ({ ...statement, ...change(statement) }));
      return decide({ ...policy, statements }, request);
    };
  };
  const without = (isLeftOut: (statement: Statement, namespace: string | undefined) => boolean): typeof decide => {
    return (policy, request) => {
      const { namespace } = request.resource;
      const statements = policy.statements.filter((statement) => !isLeftOut(statement, namespace));
      return decide({ ...policy, statements }, request);
    };
  };
  const wrong: Record<string, typeof decide> = {
    "lets an allowance win": (policy, request) =>
      without(({ effect }) => effect === "deny")(policy, request) ?? decide(policy, request),
    "lets the last statement win": (policy, request) => lastOf(policy, request),
    "takes NotResource for Resource": changed(() => ({ exceptResources: false })),
    "lets everybody be meant": changed(() => ({ keyIds: undefined })),
    "asks only the first condition": changed(({ conditions }) => ({ conditions: conditions.slice(0, 1) })),
    "asks only the first resource": changed(({ resources }) => ({ resources: resources.slice(0, 1) })),
    "takes an absent namespace for one that is not excluded": without(
      ({ conditions }, namespace) =>
        namespace === undefined && conditions.some((each) => each.of === "namespace" && each.negated),
    ),
    "takes IPv4 written as IPv6 for IPv6": (policy, request) =>
      decide(policy, { ...request, address: request.address.replace("::ffff:", "::fffe:") }),
    "counts a time as before itself": (policy, request) => decide(policy, { ...request, at: request.at - 1 }),
    "takes the bucket for its indexes": (policy, request) =>
      decide({ ...policy, indexResourceStart: `${policy.bucketResource}/` }, request),
    "says something on other buckets": (policy, request) =>
      decide(policy, { ...request, resource: { ...request.resource, bucket: policy.bucket } }),
  };
  for (const [what, engine] of Object.entries(wrong)) {
    test(what, (t) => {
      const random = new Random();
      t.diagnostic(`seed ${random.seed}`);
      assert.ok(compare(random, 200_000, engine).difference);
    });
  }
});

/** Until as many requests are decided, or one otherwise than the oracle does. */
function compare(random: Random, requests: number, engine: typeof decide) {
  const counts: Record<string, number> = {};
  const count = (what: string) => {
    counts[what] = (counts[what] ?? 0) + 1;
  };
  for (let done = 0; done < requests; ) {
    const cases = new PolicyCases(random);
    const oracle = new PolicyOracle(cases.scope, cases.bucket);
    const raw = cases.policy();
    const text = JSON.stringify(raw);
    const policy = parse(text, cases);
    if ((policy !== undefined) !== oracle.isValid(raw)) {
      return { counts, difference: `${policy ? "kept" : "refused"} for ${cases.bucket}: ${text}` };
    }
    if (policy === undefined) {
      count("refused");
      // Every so many refused ones count, so that the test ends whatever is refused.
      done++;
      continue;
    }
    for (let i = 0; i < REQUESTS_PER_POLICY; i++, done++) {
      const request = cases.request();
      const expected = oracle.decide(raw, request);
      const actual = engine(policy, request);
      if (actual !== expected) {
        const said = `${actual} instead of ${expected}`;
        return { counts, difference: `${said} for ${JSON.stringify(request)} in ${cases.bucket}: ${text}` };
      }
      count(`${actual}`);
    }
  }
  return { counts, difference: undefined };
}

function parse(text: string, { scope, bucket }: PolicyCases): Policy | undefined {
  try {
    return parsePolicy(text, scope, bucket);
  } catch (error) {
    if (error instanceof QuiverError) return undefined;
    throw error;
  }
}

function lastOf(policy: Policy, request: Parameters<typeof decide>[1]) {
  const said = policy.statements.map((statement) => decide({ ...policy, statements: [statement] }, request));
  return said.findLast((decision) => decision !== undefined);
}
