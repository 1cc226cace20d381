import type { DataPlane } from "./data-plane-call.ts";

/** A response as REST has it: that of the messages, except that descriptions of namespaces are in snake_case. */
export function fromResponse(operation: keyof DataPlane, response: Readonly<Record<string, unknown>>): object {
  switch (operation) {
    case "listNamespaces": {
      const { namespaces, totalCount, ...rest } = response;
      return {
        namespaces: (namespaces as Record<string, unknown>[]).map(fromDescription),
        total_count: totalCount,
        ...rest,
      };
    }
    case "createNamespace":
    case "describeNamespace":
      return fromDescription(response);
    default:
      return response;
  }
}

function fromDescription({ name, recordCount }: Readonly<Record<string, unknown>>) {
  return { name, record_count: recordCount };
}
