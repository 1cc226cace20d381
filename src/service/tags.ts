import type { ChangeTags, Engine } from "../engine/engine.ts";
import { invalidField, quote } from "../errors.ts";
import type { Action } from "./access/actions.ts";
import type { Caller } from "./access/caller.ts";
import type { ServiceContext } from "./context.ts";
import { LIMITS } from "./limits.ts";
import { resolveResource } from "./names.ts";

type Tagged = ReturnType<typeof resolveResource>;
type TagMap = Readonly<Record<string, string>>;

/** The tags of vector buckets and indexes, by ARN: add, remove, list. */
export class Tags {
  readonly #engine: Engine;
  readonly #context: ServiceContext;

  constructor(context: ServiceContext) {
    this.#engine = context.engine;
    this.#context = context;
  }

  /** Adds tags, replacing the values of keys that are there. Throws INVALID_FIELD when there would be more than 50. */
  async add(caller: Caller, { resourceArn, tags }: { resourceArn: string; tags: TagMap }): Promise<void> {
    assertSomeTags("tags", Object.keys(tags).length);
    assertTags(tags);
    const resource = await this.#admit(caller, "TagResource", resourceArn);
    await this.#change(resource, (before) => {
      const merged = { ...before, ...tags };
      const count = Object.keys(merged).length;
      if (count > LIMITS.tagsMax) {
        const present = `with the ${Object.keys(before).length} that are there`;
        throw invalidField("tags", `Must be at most ${LIMITS.tagsMax} tags ${present}, would be ${count}`);
      }
      return merged;
    });
  }

  /** Removes tags; keys that are not there are passed over. */
  async remove(
    caller: Caller,
    { resourceArn, tagKeys }: { resourceArn: string; tagKeys: readonly string[] },
  ): Promise<void> {
    assertSomeTags("tag_keys", tagKeys.length);
    for (const [i, key] of tagKeys.entries()) assertTagKey(`tag_keys[${i}]`, key);
    const removed = new Set(tagKeys);
    const resource = await this.#admit(caller, "UntagResource", resourceArn);
    await this.#change(resource, (before) =>
      Object.fromEntries(Object.entries(before).filter(([key]) => !removed.has(key))),
    );
  }

  async list(caller: Caller, { resourceArn }: { resourceArn: string }): Promise<TagMap> {
    const { bucket, index } = await this.#admit(caller, "ListTagsForResource", resourceArn);
    const resource = index === undefined ? this.#engine.getBucket(bucket) : this.#engine.getIndex({ bucket, index });
    return (await resource).tags;
  }

  async #change({ bucket, index }: Tagged, tags: ChangeTags): Promise<void> {
    if (index === undefined) await this.#engine.updateBucket(bucket, { tags });
    else await this.#engine.updateIndex({ bucket, index }, { tags });
  }

  async #admit(caller: Caller, action: Action, resourceArn: string): Promise<Tagged> {
    const resource = resolveResource(this.#context.scope, "resource_arn", resourceArn);
    await this.#context.authorizer.authorize(caller, action, resource);
    this.#context.rates.admitRequest(resource);
    return resource;
  }
}

/** Throws INVALID_FIELD unless there are at most 50 tags with keys of 1-128 and values of 0-256 characters. */
export function assertTags(tags: TagMap): void {
  const entries = Object.entries(tags);
  if (entries.length > LIMITS.tagsMax) {
    throw invalidField("tags", `Must be at most ${LIMITS.tagsMax} tags, got ${entries.length}`);
  }
  for (const [key, value] of entries) {
    assertTagKey("tags", key);
    if (value.length > LIMITS.tagValueLengthMax || !value.isWellFormed()) {
      throw invalidField(
        `tags[${quote(key)}]`,
        `Must be at most ${LIMITS.tagValueLengthMax} characters, got ${value.length}`,
      );
    }
  }
}

function assertTagKey(field: string, key: string): void {
  if (key.length >= 1 && key.length <= LIMITS.tagKeyLengthMax && key.isWellFormed()) return;
  throw invalidField(field, `A key must be 1 to ${LIMITS.tagKeyLengthMax} characters, got ${quote(key)}`);
}

function assertSomeTags(field: string, count: number): void {
  if (count >= 1 && count <= LIMITS.tagsMax) return;
  throw invalidField(field, `Must be 1 to ${LIMITS.tagsMax}, got ${count}`);
}
