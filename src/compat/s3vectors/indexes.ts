import type { IndexWithArn } from "../../service/indexes.ts";
import type { Service } from "../../service/service.ts";
import type { Operation } from "../facade.ts";
import { PLAIN_INDEX } from "../plain-requests.ts";
import { toTimestamp } from "./convert.ts";
import { assertEncryption, ENCRYPTION } from "./encryption.ts";
import type { Input } from "./input.ts";
import { S3_LIMITS } from "./limits.ts";
import { operation } from "./operation.ts";
import { bucketOf, indexNameOf, indexOf, isIndexName, placeOf } from "./references.ts";
import { tagsOf } from "./tag-rules.ts";

export function indexOperations({ indexes }: Service): readonly Operation[] {
  return [
    operation("CreateIndex", "write", async (input, { caller, note }) => {
      const reference = bucketOf(input);
      const indexName = indexNameOf(input, true);
      input.choice("dataType", ["float32"], true);
      const dimension = input.integer("dimension", S3_LIMITS.dimension, true) ?? 0;
      const distanceMetric = input.choice("distanceMetric", ["euclidean", "cosine"], true);
      const nonFilterableMetadataKeys = nonFilterableKeysOf(input);
      assertEncryption(input);
      const tags = tagsOf(input);
      input.assertValid();
      note(`${placeOf(reference)}/${indexName}`);
      const { arn } = await indexes.create(caller, {
        ...PLAIN_INDEX,
        ...reference,
        indexName,
        dimension,
        distanceMetric,
        nonFilterableMetadataKeys,
        tags,
      });
      return { indexArn: arn };
    }),

    operation("GetIndex", "read", async (input, { caller, note }) => {
      const reference = indexOf(input);
      input.assertValid();
      note(placeOf(reference));
      return { index: toIndex(await indexes.get(caller, reference)) };
    }),

    operation("ListIndexes", "read", async (input, { caller, note }) => {
      const reference = bucketOf(input);
      const prefix = input.string("prefix", { length: S3_LIMITS.prefix });
      const maxResults = input.integer("maxResults", S3_LIMITS.bucketPage) ?? 0;
      const nextToken = input.string("nextToken", { length: S3_LIMITS.nameToken });
      input.assertValid();
      note(placeOf(reference));
      const page = await indexes.list(caller, { ...reference, prefix, maxResults, nextToken });
      // A page is shorter for what Amazon's clients could not name.
      const shown = page.items.filter(({ index }) => isIndexName(index));
      return { indexes: shown.map(toSummary), nextToken: page.nextToken || undefined };
    }),

    operation("DeleteIndex", "write", async (input, { caller, note }) => {
      const reference = indexOf(input);
      input.assertValid();
      note(placeOf(reference));
      await indexes.delete(caller, reference);
      return {};
    }),
  ];
}

function nonFilterableKeysOf(input: Input): readonly string[] {
  const configuration = input.input("metadataConfiguration");
  const hasTextSearch = configuration?.fields.has("textSearchConfigurations") ?? false;
  input.rule(
    !hasTextSearch,
    "metadataConfiguration",
    "This server has no text search: give no textSearchConfigurations",
  );
  if (!configuration?.fields.has("nonFilterableMetadataKeys")) return [];
  const { nonFilterableKeys, nonFilterableKey } = S3_LIMITS;
  return configuration.strings("nonFilterableMetadataKeys", nonFilterableKeys, nonFilterableKey);
}

function toSummary({ bucket, index, arn, createdAt }: IndexWithArn) {
  return { vectorBucketName: bucket, indexName: index, indexArn: arn, creationTime: toTimestamp(createdAt) };
}

/** An index that was made with another API may have a dimension or a metric that Amazon's have not; it is shown as it is. */
function toIndex(index: IndexWithArn) {
  const { dimension, distanceMetric, nonFilterableMetadataKeys } = index;
  return {
    ...toSummary(index),
    dataType: "float32",
    dimension,
    distanceMetric,
    ...(nonFilterableMetadataKeys.length > 0 ? { metadataConfiguration: { nonFilterableMetadataKeys } } : {}),
    encryptionConfiguration: ENCRYPTION,
  };
}
