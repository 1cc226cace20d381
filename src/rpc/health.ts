import type { HandlerContext } from "@connectrpc/connect";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/grpc/health/v1/health_pb.ts";
import { QuiverError, shuttingDown } from "../errors.ts";
import type { Caller } from "../service/access/caller.ts";
import { LIMITS } from "../service/limits.ts";
import { callerOf, callKey } from "./call.ts";
import { defineService, type RpcService } from "./define-service.ts";
import { untilAborted } from "./until-aborted.ts";

/** What is known of the server's health: whether all of it is ready, and a word for each index by `bucket/index`. */
export interface HealthState {
  readonly ready: boolean;
  /** `healthy` while writes are taken. */
  readonly storage: string;
  readonly indexes: Readonly<Record<string, string>>;
}

export interface HealthOptions {
  /** Names of the services that are served; they are as healthy as the server. */
  services: readonly string[];
  /** Called for every check and list, and once per `pollMs` for all watches together. An index in state `loading` or `failed` does not serve. */
  state(): HealthState;
  /** Whether a caller may learn that there is an index. Default: all may. */
  maySee?(caller: Caller, bucket: string, index: string): Promise<boolean>;
  /** How often a watch looks for changes, in milliseconds. Default 1,000. */
  pollMs?: number;
}

const DEFAULT_POLL_MS = 1_000;
const RETRY_AFTER_MS = 10_000;
const INDEX_PREFIX = "index:";
const STORAGE = "storage";

/**
 * Serves grpc.health.v1: "" for the whole server, the name of each service, `index:<bucket>/<index>`, and `storage`, which
 * does not serve while the storage takes no writes though reads go on. While the server shuts down nothing serves.
 */
export function createHealth(options: HealthOptions): RpcService {
  const poll = createPoll(() => statuses(options), options.pollMs ?? DEFAULT_POLL_MS);

  const isVisible = async (name: string, context: HandlerContext): Promise<boolean> => {
    if (!name.startsWith(INDEX_PREFIX)) return true;
    const [bucket = "", index = ""] = name.slice(INDEX_PREFIX.length).split("/");
    return (await options.maySee?.(callerOf(context), bucket, index)) ?? true;
  };

  return defineService(Health, {
    async check({ service }, context) {
      const status = (await isVisible(service, context)) ? statuses(options, context).get(service) : undefined;
      if (status === undefined) throw unknownName(service);
      return { status };
    },
    async list(_, context) {
      const seen: Record<string, { status: Status }> = {};
      for (const [name, status] of statuses(options, context)) {
        if (await isVisible(name, context)) seen[name] = { status };
      }
      return { statuses: seen };
    },
    async *watch({ service }, context) {
      const { shutdown } = context.values.get(callKey);
      const signal = AbortSignal.any([context.signal, shutdown]);
      const current = async () =>
        ((await isVisible(service, context)) && poll.latest().get(service)) || Status.SERVICE_UNKNOWN;
      const leave = poll.join();
      let last: Status = Status.NOT_SERVING;
      try {
        if (!shutdown.aborted) last = await current();
        yield { status: last };
        while (!signal.aborted) {
          await untilAborted(poll.next(), signal, (reason) => new Error("Watch has ended", { cause: reason }));
          const status = await current();
          if (status !== last) yield { status };
          last = status;
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        leave();
      }
      if (last !== Status.NOT_SERVING) yield { status: Status.NOT_SERVING };
      throw shuttingDown();
    },
  });
}

/** The statuses of all names, computed once per period for all who watch, however many they are. */
interface Poll {
  /** Keeps the poll going until the returned function is called. Throws TOO_MANY_STREAMS. */
  join(): () => void;
  latest(): ReadonlyMap<string, Status>;
  /** Settles when there are new statuses. */
  next(): Promise<void>;
}

function createPoll(compute: () => ReadonlyMap<string, Status>, pollMs: number): Poll {
  let watches = 0;
  let timer: NodeJS.Timeout | undefined;
  let latest: ReadonlyMap<string, Status> = new Map();
  let next = Promise.withResolvers<void>();
  const update = () => {
    latest = compute();
    next.resolve();
    next = Promise.withResolvers();
  };
  return {
    join() {
      if (watches >= LIMITS.healthWatchesMax) {
        const message = `Cannot watch the health: ${watches} streams do, as many as allowed; call Check instead`;
        throw new QuiverError("TOO_MANY_STREAMS", message, { retryAfterMs: RETRY_AFTER_MS });
      }
      if (watches === 0) {
        update();
        timer = setInterval(update, pollMs);
      }
      watches += 1;
      return () => {
        watches -= 1;
        if (watches === 0) clearInterval(timer);
      };
    },
    latest: () => latest,
    next: () => next.promise,
  };
}

function statuses({ services, state }: HealthOptions, context?: HandlerContext): Map<string, Status> {
  const { ready, storage, indexes } = state();
  const shutsDown = context?.values.get(callKey).shutdown.aborted === true;
  const serving = (serves: boolean) => (serves && !shutsDown ? Status.SERVING : Status.NOT_SERVING);
  return new Map([
    ["", serving(ready)],
    [STORAGE, serving(storage === "healthy")],
    ...services.map((name) => [name, serving(ready)] as const),
    ...Object.entries(indexes).map(
      ([name, word]) => [`${INDEX_PREFIX}${name}`, serving(word !== "loading" && word !== "failed")] as const,
    ),
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
