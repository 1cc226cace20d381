import type { Bounds, Filter, FilterValue } from "./filter.ts";

/** True when the metadata matches. This is what a filter means; every other way to apply one is tested against it. */
export function matches(filter: Filter, metadata: Readonly<Record<string, unknown>>): boolean {
  switch (filter.kind) {
    case "and":
      return filter.filters.every((each) => matches(each, metadata));
    case "or":
      return filter.filters.some((each) => matches(each, metadata));
    case "not":
      return !matches(filter.filter, metadata);
    case "in": {
      const value = ownValue(metadata, filter.key);
      const wanted = valuesOf(filter);
      return Array.isArray(value) ? value.some((element) => wanted.has(element)) : wanted.has(value);
    }
    case "range": {
      const value = ownValue(metadata, filter.key);
      return typeof value === "number" && isWithin(filter.bounds, value);
    }
    case "exists":
      return Object.hasOwn(metadata, filter.key);
  }
}

function isWithin({ gt, gte, lt, lte }: Bounds, value: number): boolean {
  return (
    (gt === undefined || value > gt) &&
    (gte === undefined || value >= gte) &&
    (lt === undefined || value < lt) &&
    (lte === undefined || value <= lte)
  );
}

/** Undefined, which equals no filter's value, when it is absent; what objects inherit is not metadata. */
function ownValue(metadata: Readonly<Record<string, unknown>>, key: string): unknown {
  return Object.hasOwn(metadata, key) ? metadata[key] : undefined;
}

// A thousand values against a list of hundreds, for vector after vector, would take too long without a set.
const VALUES = new WeakMap<Filter, ReadonlySet<unknown>>();

function valuesOf(filter: Extract<Filter, { kind: "in" }>): ReadonlySet<unknown> {
  let values = VALUES.get(filter);
  if (!values) {
    values = new Set<FilterValue>(filter.values);
    VALUES.set(filter, values);
  }
  return values;
}
