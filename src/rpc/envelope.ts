export const ENVELOPE_HEADER_BYTES = 5;

/** A message with its flag byte and its length, as gRPC, gRPC-Web and Connect's streams carry it. */
export function envelope(flags: number, message: Uint8Array): Buffer {
  const enveloped = Buffer.allocUnsafe(ENVELOPE_HEADER_BYTES + message.length);
  enveloped[0] = flags;
  enveloped.writeUInt32BE(message.length, 1);
  enveloped.set(message, ENVELOPE_HEADER_BYTES);
  return enveloped;
}
