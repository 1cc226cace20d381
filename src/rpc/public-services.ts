/** Services that everybody may call, with or without an access key: they name nothing that is stored but what the caller may see. */
const PUBLIC: ReadonlySet<string> = new Set([
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
]);

/** Whether everybody may call a service, by its full name. */
export function isPublic(typeName: string): boolean {
  return PUBLIC.has(typeName);
}
