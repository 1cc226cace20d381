import type { Http2Session } from "node:http2";
import type { Socket } from "node:net";
import type { Origin } from "../service/access/callers.ts";

interface Client extends Origin {
  readonly network: string;
}

const ofConnection = new WeakMap<Http2Session | Socket, Client>();

/**
 * Whom a connection is from, for turns between clients: its address, and with IPv6 the network of 64 bits, in which one
 * machine may have as many addresses as it likes.
 */
export function clientAddress(connection: Http2Session | Socket): string {
  return clientOf(connection).network;
}

/** Where a connection comes from, also after it was closed. */
export function originOf(connection: Http2Session | Socket): Origin {
  return clientOf(connection);
}

function clientOf(connection: Http2Session | Socket): Client {
  const known = ofConnection.get(connection);
  if (known !== undefined) return known;
  const socket = "socket" in connection ? connection.socket : connection;
  const address = plainAddress(socket.remoteAddress ?? "");
  const client = { address, network: networkOf(address), secure: "encrypted" in socket };
  ofConnection.set(connection, client);
  return client;
}

/** An IPv4 address as it is, also on a port that takes both families. */
function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=[\d.]+$)/i, "");
}

/** The address itself for IPv4, the first four groups for IPv6. */
export function networkOf(address: string): string {
  const plain = plainAddress(address);
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = address.replace(/%.*$/, "").split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  return [...before, ...Array<string>(Math.max(0, zeros)).fill("0"), ...after].slice(0, 4).join(":");
}
