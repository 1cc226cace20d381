import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { ImportVectorsRequest, VectorService } from "../../../gen/quiver/v1/vector_service_pb.ts";
import type { WatchEvent } from "../../engine/engine.ts";
import { QuiverError, shuttingDown } from "../../errors.ts";
import type { ImportPart } from "../../service/import-run.ts";
import type { Service } from "../../service/service.ts";
import { callerOf, callKey, notePlace } from "../call.ts";
import { fromOnDuplicate, fromStruct, toProjection, toVector, toVectorInput } from "../convert.ts";
import { endOfCall } from "../end-of-call.ts";
import { toStatus } from "../error.ts";
import { readUntilAborted } from "../until-aborted.ts";

/** The streams of VectorService. A shutdown ends each with SHUTTING_DOWN. */
export function vectorStreams({ streams }: Service): Partial<ServiceImpl<typeof VectorService>> {
  return {
    async importVectors(requests, context) {
      const parts = toParts(untilEnded(requests, context), context);
      const result = await streams.import(callerOf(context), parts, endOfCall(context));
      return {
        lsn: BigInt(result.lsn),
        putCount: BigInt(result.putCount),
        failedCount: BigInt(result.failedCount),
        errors: result.refusals.map(({ position, key, error }) => ({
          position: BigInt(position),
          key,
          status: toStatus(error),
        })),
      };
    },
    async *exportVectors(request, context) {
      notePlace(context, request);
      const filter = fromStruct(request.filter);
      const parts = await streams.export(callerOf(context), { ...request, filter, projection: toProjection(request) });
      for await (const { vectors, lsn } of untilEnded(parts, context)) {
        yield { vectors: vectors.map(toVector), lsn: BigInt(lsn) };
      }
    },
    async *watchVectors(request, context) {
      notePlace(context, request);
      const fromLsn = request.fromLsn === undefined ? undefined : Number(request.fromLsn);
      const events = await streams.watch(callerOf(context), { ...request, fromLsn, projection: toProjection(request) });
      for await (const event of untilEnded(events, context)) yield toWatchResponse(event);
    },
  };
}

async function* toParts(
  requests: AsyncIterable<ImportVectorsRequest>,
  context: HandlerContext,
): AsyncGenerator<ImportPart> {
  const { lease } = context.values.get(callKey);
  let before = 0;
  for await (const request of requests) {
    if (before === 0) notePlace(context, request);
    const bytes = lease.total - before;
    before = lease.total;
    const vectors = request.vectors.map(toVectorInput);
    yield { ...request, vectors, onDuplicate: fromOnDuplicate(request.onDuplicate), bytes };
  }
}

function toWatchResponse({ lsn, change }: WatchEvent) {
  if (change === undefined) return { lsn: BigInt(lsn) };
  const oneof =
    "put" in change
      ? ({ case: "put", value: toVector(change.put) } as const)
      : ({ case: "deletedKey", value: change.deletedKey } as const);
  return { lsn: BigInt(lsn), change: { change: oneof } };
}

function untilEnded<T>(items: AsyncIterable<T>, context: HandlerContext): AsyncIterable<T> {
  const { shutdown } = context.values.get(callKey);
  return readUntilAborted(items, endOfCall(context), (cause) =>
    shutdown.aborted ? shuttingDown() : new QuiverError("CANCELLED", "The stream was ended by its client", { cause }),
  );
}
