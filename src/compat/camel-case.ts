/** The path of a field of the native API, as vendors write its names: `query_vector.float32` is `queryVector.float32`. */
export function camelCase(field: string): string {
  // A key of metadata, which stands in quotes, is the user's.
  return field.replace(/"(?:[^"\\]|\\.)*"|_([a-z])/g, (all, letter?: string) => letter?.toUpperCase() ?? all);
}
