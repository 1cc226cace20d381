/**
 * What one port accepts. Every limit has a default that a public server can live with; none is unlimited.
 */
export interface PortLimits {
  /** Open TCP connections; more are closed at once. Default 1,024. */
  maxConnections: number;
  /** Calls at one time on one HTTP/2 connection. Default 100. */
  maxConcurrentStreams: number;
  /** Bytes of all headers of one request. Default 16,384. */
  maxHeaderBytes: number;
  /** Header fields of one request. Default 100. */
  maxHeaders: number;
  /** From the first byte of a connection or request to the end of its headers, in milliseconds. Default 20,000. */
  headersTimeoutMs: number;
  /**
   * From the first byte of a request to the end of its body, in milliseconds; with HTTP/2, for each message of a client's
   * stream anew. Default 300,000.
   */
  requestTimeoutMs: number;
  /** An answer of which a client takes nothing for so long is cut, in milliseconds. Default 60,000. */
  writeTimeoutMs: number;
  /** A connection without any call is closed after this many milliseconds. Default 120,000. */
  idleTimeoutMs: number;
  /** Bytes that a client may send on one HTTP/2 connection before they are read, until one of its calls is let in. Default 65,535. */
  strangerWindowBytes: number;
  /** Bytes that a client may send on one HTTP/2 stream before it is read. Default 8 MiB. */
  streamWindowBytes: number;
  /** Bytes that a client may send on one HTTP/2 connection before they are read. Default 16 MiB. */
  connectionWindowBytes: number;
  /** Memory that one HTTP/2 connection may take before new streams are refused, in MiB. Default 64. */
  maxSessionMemoryMib: number;
  /** Calls that one address may reset before they were answered, at once; then the connection ends, and the others wait. Default 1,000. */
  resetBurst: number;
  /** How many of those it gets back per second. Default 100. */
  resetsPerSecond: number;
}

export const DEFAULT_PORT_LIMITS: Readonly<PortLimits> = Object.freeze({
  maxConnections: 1_024,
  maxConcurrentStreams: 100,
  maxHeaderBytes: 16_384,
  maxHeaders: 100,
  headersTimeoutMs: 20_000,
  requestTimeoutMs: 300_000,
  writeTimeoutMs: 60_000,
  idleTimeoutMs: 120_000,
  strangerWindowBytes: 65_535,
  streamWindowBytes: 8 * 1024 * 1024,
  connectionWindowBytes: 16 * 1024 * 1024,
  maxSessionMemoryMib: 64,
  resetBurst: 1_000,
  resetsPerSecond: 100,
});
