/**
 * A filter over metadata, parsed and normalised. `evaluate.ts` is what it means; everything that compiles it to another
 * form is tested against that.
 */
export type Filter =
  | { readonly kind: "and"; readonly filters: readonly Filter[] }
  | { readonly kind: "or"; readonly filters: readonly Filter[] }
  | { readonly kind: "not"; readonly filter: Filter }
  /** The value, or an element of the list, is one of these; at least one. `$eq` is `$in` of one value. */
  | { readonly kind: "in"; readonly key: string; readonly values: readonly FilterValue[] }
  /** A number within bounds that are finite or absent; a list does not match. */
  | { readonly kind: "range"; readonly key: string; readonly bounds: Bounds }
  | { readonly kind: "exists"; readonly key: string };

/** What metadata is compared with. Values of different types are never equal. */
export type FilterValue = string | number | boolean;

/** At least one is given, and at most one on each side. */
export interface Bounds {
  readonly gt?: number;
  readonly gte?: number;
  readonly lt?: number;
  readonly lte?: number;
}
