import { invalidField, quote } from "../../errors.ts";
import type { IndexWithArn } from "../../service/indexes.ts";
import type { Service } from "../../service/service.ts";
import type { FacadeAnswer } from "../facade.ts";
import { JsonFields } from "../json-fields.ts";
import { PLAIN_INDEX } from "../plain-requests.ts";
import { OSS_LIMITS } from "./limits.ts";
import { type BucketRequest, DONE, GONE, integerIn, onBucket, onIndex, type Routes } from "./operations.ts";
import { isIndexName } from "./references.ts";

const METRICS = ["euclidean", "cosine"] as const;

/** Vector indexes: put, get, list, delete. */
export function indexRoutes({ indexes }: Service): Routes {
  const list = async ({ caller, bucket, body }: BucketRequest): Promise<FacadeAnswer> => {
    const fields = new JsonFields(body ?? {});
    const prefix = fields.string("prefix") ?? "";
    const nextToken = fields.string("nextToken") ?? "";
    const maxResults = integerIn(fields, "maxResults", 0, OSS_LIMITS.listIndexesMax) || OSS_LIMITS.listIndexesDefault;
    const after = nextToken === "" ? {} : { after: nextToken };
    const page = await indexes.list(caller, { ...bucket, prefix, maxResults, nextToken: "", ...after });
    return {
      status: 200,
      body: {
        indexes: page.items.filter(({ index }) => isIndexName(index)).map(infoOf),
        // The last name, as users may go on after any name.
        nextToken: page.nextToken === "" ? "" : page.items.at(-1)?.index,
      },
    };
  };

  return {
    "POST putVectorIndex": onIndex("PutVectorIndex", "write", async ({ caller, fields, index }) => {
      assertDataType(fields);
      await indexes.create(caller, {
        ...PLAIN_INDEX,
        ...index,
        vectorBucketArn: "",
        dimension: integerIn(fields, "dimension", 1, OSS_LIMITS.dimensionMax) ?? OSS_LIMITS.dimensionDefault,
        distanceMetric: metricOf(fields),
        nonFilterableMetadataKeys: nonFilterableKeysOf(fields),
      });
      return DONE;
    }),
    "POST getVectorIndex": onIndex("GetVectorIndex", "read", async ({ caller, index }) => ({
      status: 200,
      body: { index: infoOf(await indexes.get(caller, index)) },
    })),
    "POST listVectorIndexes": onBucket("ListVectorIndexes", "read", list, OSS_LIMITS.bodyBytesMax),
    "POST deleteVectorIndex": onIndex("DeleteVectorIndex", "write", async ({ caller, index }) => {
      await indexes.delete(caller, index);
      return GONE;
    }),
  };
}

/** An index answers queries from its creation to its deletion. */
function infoOf({ bucket, index, createdAt, dimension, distanceMetric, nonFilterableMetadataKeys }: IndexWithArn) {
  return {
    vectorBucketName: bucket,
    indexName: index,
    createTime: new Date(createdAt).toISOString(),
    dataType: "float32",
    dimension,
    distanceMetric,
    metadata: { nonFilterableMetadataKeys },
    status: "enable",
  };
}

function assertDataType(fields: JsonFields): void {
  const dataType = fields.string("dataType") ?? "float32";
  if (dataType !== "float32") throw invalidField("dataType", `Must be "float32", got ${quote(dataType)}`);
}

function metricOf(fields: JsonFields): (typeof METRICS)[number] {
  const given = fields.string("distanceMetric") ?? "euclidean";
  const metric = METRICS.find((each) => each === given);
  if (metric !== undefined) return metric;
  throw invalidField("distanceMetric", `Must be "euclidean" or "cosine", got ${quote(given)}`);
}

const METADATA_KEY = /^[A-Za-z_][A-Za-z0-9_]*$/;

function nonFilterableKeysOf(fields: JsonFields): readonly string[] {
  const keys = fields.fields("metadata")?.strings("nonFilterableMetadataKeys");
  if (keys === undefined) return [];
  const field = "metadata.nonFilterableMetadataKeys";
  const { nonFilterableKeysMax, nonFilterableKeyLengthMax } = OSS_LIMITS;
  if (keys.length < 1 || keys.length > nonFilterableKeysMax) {
    throw invalidField(field, `Must be 1 to ${nonFilterableKeysMax} keys, got ${keys.length}`);
  }
  for (const [i, key] of keys.entries()) {
    if (key.length <= nonFilterableKeyLengthMax && METADATA_KEY.test(key)) continue;
    throw invalidField(
      `${field}[${i}]`,
      `Must be 1 to ${nonFilterableKeyLengthMax} letters, digits and "_", not beginning with a digit, got ${quote(key)}`,
    );
  }
  return keys;
}
