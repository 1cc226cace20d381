/** What a number, a text or a list must be within; without a most, only at least. */
export interface Range {
  readonly min: number;
  readonly max?: number;
}

/** What Amazon S3 Vectors allows, by its service model 2025-07-15 and its documentation of 2026. */
export const S3_LIMITS = Object.freeze({
  requestBytesMax: 20 * 1024 * 1024,
  name: { min: 3, max: 63 },
  prefix: { min: 1, max: 63 },
  bucketPage: { min: 1, max: 500 },
  nameToken: { min: 1, max: 512 },
  dimension: { min: 1, max: 4_096 },
  nonFilterableKeys: { min: 0, max: 10 },
  nonFilterableKey: { min: 1, max: 63 },
  key: { min: 1, max: 1_024 },
  putVectors: { min: 1, max: 500 },
  getKeys: { min: 1, max: 100 },
  deleteKeys: { min: 1, max: 500 },
  listPage: { min: 1, max: 1_000 },
  listToken: { min: 1, max: 2_048 },
  segmentCount: { min: 1, max: 16 },
  segmentIndex: { min: 0, max: 15 },
  topK: { min: 1, max: 10_000 },
  queryToken: { min: 1, max: 4_096 },
  queryPageMax: 100,
  tagsMax: 50,
  tagKey: { min: 1, max: 128 },
  tagValue: { min: 0, max: 256 },
  resourceArn: { min: 0, max: 1_011 },
} as const satisfies Readonly<Record<string, number | Range>>);
