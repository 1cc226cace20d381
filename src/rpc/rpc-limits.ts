import { LIMITS } from "../service/limits.ts";
import { createMemoryBudget, type MemoryBudget } from "./memory-budget.ts";

/** What one server takes of requests and holds of answers. */
export interface RpcLimits {
  /** The largest binary message, after decompression, in bytes. Default 20 MiB. */
  maxMessageBytes: number;
  /** The largest JSON message in bytes: numbers take up to five times their binary size as text. Default 100 MiB. */
  maxJsonBytes: number;
  /**
   * The most fields, elements and map entries in one message, at every depth; a list of numbers counts once. Default
   * 211,000: the largest put has 1,000 vectors of 210 fields, 200 of them for 50 metadata keys.
   */
  maxFields: number;
  /** The most numbers in all lists of numbers of one message. Default 5,242,880: what 20 MiB of float32 hold. */
  maxNumbers: number;
  /** The most bytes of unfinished requests in memory, over all connections. Default 512 MiB. */
  maxBufferedBytes: number;
  /** Bytes of answers in memory, over all connections, above which calls are refused. Default 512 MiB. */
  maxAnswerBytes: number;
}

export const DEFAULT_RPC_LIMITS: Readonly<RpcLimits> = Object.freeze({
  maxMessageBytes: LIMITS.requestBytesMax,
  maxJsonBytes: 5 * LIMITS.requestBytesMax,
  maxFields: 211_000,
  maxNumbers: LIMITS.requestBytesMax / Float32Array.BYTES_PER_ELEMENT,
  maxBufferedBytes: 512 * 1024 * 1024,
  maxAnswerBytes: 512 * 1024 * 1024,
});

/** Of a service whose messages are shorter than those of others. */
export function shorterMessages(limits: RpcLimits, maxBytes: number): RpcLimits {
  return { ...limits, maxMessageBytes: maxBytes, maxJsonBytes: maxBytes };
}

/** Of the services that need no access key: nothing that they are asked is long, and nobody knows who asks. */
export const PUBLIC_BYTES_MAX = 64 * 1024;

/** Bytes that a byte of a request takes at most, once it is decoded and on its way to the store. */
const REQUEST_TIMES = 4;
/** The share of the requests' budget that stays for small requests, such as deletes, when memory is full. */
const SMALL_SHARE = 1 / 8;

/** For requests in progress. `hasRoomFor`: whether the process may hold so many bytes more. */
export function createRequestBudget(
  { maxBufferedBytes }: RpcLimits,
  hasRoomFor: (bytes: number) => boolean,
): MemoryBudget {
  return createMemoryBudget({
    what: "Requests in progress",
    maxBytes: maxBufferedBytes,
    alwaysBytes: maxBufferedBytes * SMALL_SHARE,
    hasRoomFor: (bytes) => hasRoomFor(REQUEST_TIMES * bytes),
  });
}
