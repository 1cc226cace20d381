import { setInterval } from "node:timers/promises";
import type { HandlerContext } from "@connectrpc/connect";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/grpc/health/v1/health_pb.ts";
import { QuiverError, shuttingDown } from "../errors.ts";
import { callKey } from "./call.ts";
import { defineService, type RpcService } from "./define-service.ts";

/** What is known of the server's health: whether all of it is ready, and a word for each index by `bucket/index`. */
export interface HealthState {
  readonly ready: boolean;
  readonly indexes: Readonly<Record<string, string>>;
}

export interface HealthOptions {
  /** Names of the services that are served; they are as healthy as the server. */
  services: readonly string[];
  /** Called for every check, and once per `pollMs` for every watch. An index in state `loading` does not serve. */
  state(): HealthState;
  /** How often a watch looks for changes, in milliseconds. Default 1,000. */
  pollMs?: number;
}

const DEFAULT_POLL_MS = 1_000;
const INDEX_PREFIX = "index:";

/**
 * Serves grpc.health.v1: "" for the whole server, the name of each service, and `index:<bucket>/<index>`. While the
 * server shuts down nothing serves.
 */
export function createHealth(options: HealthOptions): RpcService {
  const statusOf = (name: string, { values }: HandlerContext): Status | undefined =>
    statuses(options, values.get(callKey).shutdown.aborted).get(name);

  return defineService(Health, {
    check({ service }, context) {
      const status = statusOf(service, context);
      if (status === undefined) throw unknownName(service);
      return { status };
    },
    list(_, context) {
      const all = statuses(options, context.values.get(callKey).shutdown.aborted);
      return { statuses: Object.fromEntries([...all].map(([name, status]) => [name, { status }])) };
    },
    async *watch({ service }, context) {
      const { shutdown } = context.values.get(callKey);
      const signal = AbortSignal.any([context.signal, shutdown]);
      const current = () => statusOf(service, context) ?? Status.SERVICE_UNKNOWN;
      let last = current();
      yield { status: last };
      try {
        for await (const _ of setInterval(options.pollMs ?? DEFAULT_POLL_MS, undefined, { signal })) {
          const status = current();
          if (status !== last) yield { status };
          last = status;
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
      if (last !== Status.NOT_SERVING) yield { status: Status.NOT_SERVING };
      throw shuttingDown();
    },
  });
}

function statuses({ services, state }: HealthOptions, shutsDown: boolean): Map<string, Status> {
  const { ready, indexes } = state();
  const serving = (serves: boolean) => (serves && !shutsDown ? Status.SERVING : Status.NOT_SERVING);
  return new Map([
    ["", serving(ready)],
    ...services.map((name) => [name, serving(ready)] as const),
    ...Object.entries(indexes).map(([name, word]) => [`${INDEX_PREFIX}${name}`, serving(word !== "loading")] as const),
  ]);
}

function unknownName(name: string): QuiverError {
  if (name.startsWith(INDEX_PREFIX)) {
    const index = name.slice(INDEX_PREFIX.length);
    return new QuiverError("INDEX_NOT_FOUND", `There is no index "${index}"`, {
      resource: { type: "index", name: index },
    });
  }
  return new QuiverError("SERVICE_NOT_FOUND", `There is no service "${name}"`);
}
