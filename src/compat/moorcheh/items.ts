import type { FacadeAnswer, FacadeRequest } from "../facade.ts";
import { JsonFields } from "../json-fields.ts";
import { PLAIN_DELETE } from "../plain-requests.ts";
import { indexOf, type MoorchehContext } from "./context.ts";
import { toKeys } from "./convert.ts";
import { inNamespace } from "./errors.ts";
import { MOORCHEH_LIMITS } from "./limits.ts";
import type { RouteParameters } from "./routes.ts";

/** On-prem: items by id, without their vectors. */
export async function getItems(
  context: MoorchehContext,
  request: FacadeRequest,
  { namespace }: RouteParameters,
): Promise<FacadeAnswer> {
  const ids = toKeys(new JsonFields(request.body), MOORCHEH_LIMITS.onPremIdsMax);
  const vectors = await find(context, request, namespace, ids, true);
  const items = vectors.map(({ key, metadata }) => ({ id: key, metadata }));
  const counts = { requested_ids: ids.length, found_items: items.length };
  return { status: 200, body: { status: "success", message: "Items retrieved.", ...counts, items } };
}

/** On-prem: deletes items by id, and tells which of them were not there. */
export async function deleteItems(
  context: MoorchehContext,
  request: FacadeRequest,
  { namespace }: RouteParameters,
): Promise<FacadeAnswer> {
  const ids = toKeys(new JsonFields(request.body), MOORCHEH_LIMITS.onPremIdsMax);
  const { deleted, missing } = await remove(context, request, namespace, ids);
  return {
    status: 200,
    body: {
      status: "success",
      message: "Delete by ids completed.",
      namespace_name: namespace,
      requested: ids.length,
      deleted: deleted.length,
      not_found_ids: missing,
    },
  };
}

/** Cloud: the same. An id that is not there is no error. */
export async function deleteVectors(
  context: MoorchehContext,
  request: FacadeRequest,
  { namespace }: RouteParameters,
): Promise<FacadeAnswer> {
  const ids = toKeys(new JsonFields(request.body), MOORCHEH_LIMITS.cloudIdsMax);
  const { deleted, missing } = await remove(context, request, namespace, ids);
  const counts = { actual_deletions: deleted.length, not_found_ids: missing };
  return { status: 200, body: { status: "success", deleted_ids: deleted, ...counts, errors: [] } };
}

async function remove(context: MoorchehContext, request: FacadeRequest, namespace: string, ids: readonly string[]) {
  const found = new Set((await find(context, request, namespace, ids, false)).map(({ key }) => key));
  await inNamespace(namespace, () =>
    context.service.vectors.delete(request.caller, {
      ...PLAIN_DELETE,
      ...indexOf(context, namespace),
      namespace: "",
      keys: ids,
    }),
  );
  return { deleted: ids.filter((id) => found.has(id)), missing: ids.filter((id) => !found.has(id)) };
}

async function find(
  context: MoorchehContext,
  { caller, note }: FacadeRequest,
  namespace: string,
  keys: readonly string[],
  metadata: boolean,
) {
  note(`${context.bucket}/${namespace}`);
  const reference = { ...indexOf(context, namespace), namespace: "" };
  const { vectors } = await inNamespace(namespace, () =>
    context.service.vectors.get(caller, { ...reference, keys, projection: { data: false, metadata } }),
  );
  return vectors;
}
