import { setTimeout } from "node:timers/promises";
import { ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";

/** Calls again what a server refused because it has too much to do, once it says that it may: such a call did nothing. */
const waitWhileOverloaded: Interceptor = (next) => async (request) => {
  for (;;) {
    try {
      return await next(request);
    } catch (error) {
      const told = ConnectError.from(error);
      if (told.findDetails(ErrorInfoSchema)[0]?.reason !== "OVERLOADED") throw error;
      const { seconds = 0n, nanos = 0 } = told.findDetails(RetryInfoSchema)[0]?.retryDelay ?? {};
      await setTimeout(1_000 * Number(seconds) + nanos / 1e6);
    }
  }
};

/** For the calls of a test that are not what it is about, on machines that are slow. */
export function patientTransport(baseUrl: string): Transport {
  return createGrpcTransport({ baseUrl, interceptors: [waitWhileOverloaded] });
}
