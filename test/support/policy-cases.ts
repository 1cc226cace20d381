import { ACTIONS, type Action } from "../../src/service/access/actions.ts";
import type { PolicyRequest } from "../../src/service/access/policy.ts";
import type { ArnScope } from "../../src/service/names.ts";
import type { RawPolicy, RawStatement } from "./policy-oracle.ts";
import type { Random } from "./random.ts";

const BUCKETS = ["b", "b.1", "papers", "index"];
const INDEXES = ["a", "ab", "abab", "b-1", "index", "x.y", "papers"];
const NAMESPACES = ["", "a", "ab", "t-1", "t-2"];
const KEYS = ["k1", "k12", "K1", "a_b"];
const ADDRESSES = [
  "10.0.0.1",
  "10.127.255.255",
  "10.128.0.0",
  "192.0.2.7",
  "::ffff:10.0.0.1",
  "::FFFF:c000:207",
  "0:0:0:0:0:ffff:10.128.0.0",
  "::1",
  "::",
  "2001:db8::1",
  "2001:db8:8000::",
  "2001:0db8:7fff:ffff:ffff:ffff:ffff:ffff",
  "::10.0.0.1",
];
const TIMES = ["2026-01-31", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5+02:30", "2028-02-29T23:59:59-11:00"];
const ACTIONS_PER_POLICY = 5;
const INDEXES_PER_POLICY = 3;
const OSS_ACTIONS = ["PutVectorBucket", "GetBucketPolicy", "PutVectorIndex", "ListVectorIndexes", "QueryVectors"];

/** Random policies of a bucket, and requests that they may be on. */
export class PolicyCases {
  readonly scope: ArnScope = { region: "us-east-1", account: "123456789012" };
  readonly bucket: string;
  readonly #random: Random;
  /** Few, so that policies and requests meet. */
  readonly #actions: readonly Action[];
  readonly #indexes: readonly string[];

  constructor(random: Random) {
    this.#random = random;
    const all = Object.keys(ACTIONS) as Action[];
    this.#actions = Array.from({ length: ACTIONS_PER_POLICY }, () => random.pick(all));
    this.#indexes = Array.from({ length: INDEXES_PER_POLICY }, () => random.pick(INDEXES));
    this.bucket = random.pick(BUCKETS);
  }

  policy(): RawPolicy {
    const version = this.#random.below(4) === 0 ? "1" : "2012-10-17";
    const count = this.#random.below(6);
    const statement = () => (version === "1" ? this.#ossStatement() : this.#iamStatement());
    return { Version: version, Statement: Array.from({ length: count }, statement) };
  }

  request(): PolicyRequest {
    const random = this.#random;
    const action = random.pick(this.#actions);
    const { on } = ACTIONS[action];
    const bucket = random.below(50) === 0 ? random.pick(BUCKETS) : this.bucket;
    const hasIndex = on === "namespace" || (on === "index" && (!/tag/i.test(action) || random.below(2) === 0));
    const index = random.pick(this.#indexes);
    const namespace = random.pick(NAMESPACES);
    return {
      action,
      resource: { bucket, ...(hasIndex && { index }), ...(on === "namespace" && { namespace }) },
      keyId: random.pick(KEYS),
      address: random.pick(ADDRESSES),
      secure: random.below(2) === 0,
      at: Date.parse(random.pick(TIMES)) + random.below(3) - 1,
    };
  }

  #iamStatement(): RawStatement {
    const random = this.#random;
    const { region, account } = this.scope;
    const not = (name: string) => (random.below(5) === 0 ? `Not${name}` : name);
    const names = [...KEYS, ...KEYS.map((key) => `arn:aws:iam::${account}:user/${key}`), account, "*"];
    names.push(`arn:aws:iam::${account}:root`);
    return {
      Effect: random.pick(["Allow", "Deny"]),
      Principal: random.below(2) === 0 ? "*" : { AWS: this.#list(() => random.pick(names)) },
      [not("Action")]: this.#list(() => this.#action("s3vectors", this.#actions)),
      [not("Resource")]: this.#list(() => {
        const index = () => `bucket/${this.bucket}/index/${random.pick(this.#indexes)}`;
        return this.#resource(["arn", "aws", "s3vectors", region, account], `bucket/${this.bucket}`, index());
      }),
      ...(random.below(3) === 0 && { Condition: this.#conditions() }),
    };
  }

  #ossStatement(): RawStatement {
    const random = this.#random;
    const { region, account } = this.scope;
    const names = [...this.#actions, ...OSS_ACTIONS];
    return {
      Effect: random.pick(["Allow", "Deny"]),
      Principal: this.#list(() => random.pick([...KEYS, account, "*"])),
      Action: this.#list(() => this.#action(random.pick(["oss", "ossvector"]), names)),
      Resource: this.#list(() =>
        this.#resource(
          ["acs", "ossvector", region, account],
          this.bucket,
          `${this.bucket}/${random.pick(this.#indexes)}`,
        ),
      ),
    };
  }

  #action(prefix: string, names: readonly string[]): string {
    if (this.#random.below(4) === 0) return this.#random.pick(["*", `${prefix}:*`]);
    return `${this.#case(prefix)}:${this.#case(this.#pattern(this.#random.pick(names)))}`;
  }

  #resource(parts: readonly string[], bucket: string, index: string): string {
    const random = this.#random;
    if (random.below(5) === 0) return "*";
    const start = parts.map((part) => (random.below(8) === 0 ? this.#pattern(part) : part));
    return [...start, this.#pattern(random.below(4) === 0 ? bucket : index)].join(":");
  }

  #conditions(): Record<string, Record<string, string[]>> {
    const random = this.#random;
    const not = random.pick(["", "Not"]);
    switch (random.below(5)) {
      case 0:
        return { [`${not}IpAddress`]: { "aws:SourceIp": this.#list(() => this.#range()) } };
      case 1:
        return { Bool: { "aws:SecureTransport": this.#list(() => random.pick(["true", "false"])) } };
      case 2:
        return {
          [random.pick(["DateLessThan", "DateGreaterThan"])]: {
            "aws:CurrentTime": this.#list(() => random.pick(TIMES)),
          },
        };
      case 3:
        return { [`String${not}Equals`]: this.#texts(false) };
      default:
        return { [`String${not}Like`]: this.#texts(true) };
    }
  }

  #texts(like: boolean): Record<string, string[]> {
    const random = this.#random;
    const text = (names: readonly string[]) => () => (like ? this.#pattern(random.pick(names)) : random.pick(names));
    const keys: Record<string, string[]> = {};
    if (random.below(3) > 0) keys[this.#case("s3vectors:namespace")] = this.#list(text([...NAMESPACES, "__default__"]));
    if (random.below(3) === 0 || Object.keys(keys).length === 0) keys["aws:username"] = this.#list(text(KEYS));
    return keys;
  }

  #range(): string {
    const address = this.#random.pick(ADDRESSES.filter((each) => !/ffff:1|FFFF/.test(each)));
    const lengths = address.includes(":") ? [0, 1, 32, 33, 64, 96, 127, 128] : [0, 7, 8, 9, 24, 31, 32];
    return this.#random.below(3) === 0 ? address : `${address}/${this.#random.pick(lengths)}`;
  }

  /** The name, with some of it behind `*` and `?`; now and then with something else in it. */
  #pattern(name: string): string {
    const random = this.#random;
    let pattern = name;
    for (let change = random.below(3); change > 0 && pattern !== "" && name !== "__default__"; change--) {
      const at = random.below(pattern.length);
      const length = random.below(pattern.length - at + 1);
      const instead = random.pick(["*", "*", "*", "*", "?", "?*", "a"]);
      pattern = pattern.slice(0, at) + instead + pattern.slice(at + (instead === "*" ? length : 1));
    }
    return pattern;
  }

  #case(text: string): string {
    return this.#random.below(6) === 0 ? text.toUpperCase() : text;
  }

  #list<Item>(one: () => Item): Item[] {
    return Array.from({ length: 1 + Math.floor(this.#random.next() ** 2 * 4) }, one);
  }
}
