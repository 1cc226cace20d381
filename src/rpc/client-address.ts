import type { Http2Session } from "node:http2";
import type { Socket } from "node:net";

const ofConnection = new WeakMap<Http2Session | Socket, string>();

/**
 * Whom a connection is from, for turns between clients: its address, and with IPv6 the network of 64 bits, in which one
 * machine may have as many addresses as it likes.
 */
export function clientAddress(connection: Http2Session | Socket): string {
  let address = ofConnection.get(connection);
  if (address === undefined) {
    const socket = "socket" in connection ? connection.socket : connection;
    address = networkOf(socket.remoteAddress ?? "");
    ofConnection.set(connection, address);
  }
  return address;
}

/** The address itself for IPv4, the first four groups for IPv6. */
export function networkOf(address: string): string {
  if (!address.includes(":") || /^::ffff:[\d.]+$/i.test(address)) return address.replace(/^::ffff:/i, "");
  const [head = "", tail] = address.replace(/%.*$/, "").split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  return [...before, ...Array<string>(Math.max(0, zeros)).fill("0"), ...after].slice(0, 4).join(":");
}
