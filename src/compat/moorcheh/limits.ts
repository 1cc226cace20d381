import { LIMITS } from "../../service/limits.ts";

/** What Moorcheh's APIs allow; from its documentation and its server unless said otherwise. */
export const MOORCHEH_LIMITS = Object.freeze({
  /** Letters, digits, "-" and "_" there; length and first character are Quiver's. */
  namespaceName: /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/,
  /** Ids of one call that gets or deletes items on-prem. */
  onPremIdsMax: 100,
  /** Ids of one call that deletes vectors in the cloud. */
  cloudIdsMax: 1_000,
  topKMin: 1,
  topKMax: 100,
  topKDefault: 10,
  /** Ours: namespaces of one search, which is a query in each of them. */
  searchNamespacesMax: 100,
  /** Ours: bytes of a request. */
  requestBytesMax: LIMITS.requestBytesMax,
});
