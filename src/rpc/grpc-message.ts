/**
 * Undoes the needless part of the percent-encoding that connect gives the message of a gRPC error. The gRPC protocol
 * encodes only what is not printable ASCII, and `%`; grpc-js decodes no more than that, so that its users would read
 * `index "b%2Fi"`.
 */
export function relaxGrpcMessage(trailer: Headers): void {
  const message = trailer.get("grpc-message");
  if (message === null) return;
  const relaxed = message.replace(/%([2-7][0-9A-F])/gi, (encoded, hex: string) => {
    const code = Number.parseInt(hex, 16);
    // A space at either end of a header would be lost.
    const needed = code === 0x20 || code === 0x25 || code === 0x7f;
    return needed ? encoded : String.fromCharCode(code);
  });
  trailer.set("grpc-message", relaxed);
}
