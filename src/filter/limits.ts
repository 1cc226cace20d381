/** How large a filter may be; `parse.ts` says what a level and a node are. */
export const FILTER_LIMITS = {
  /** Levels of objects, the filter itself being the first. */
  filterDepthMax: 8,
  /** JSON values, the filter itself included. */
  filterNodesMax: 1_024,
  /** Bytes of UTF-8 of the filter as compact JSON. */
  filterBytesMax: 65_536,
} as const;
