import { gzipSync } from "node:zlib";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Random } from "../support/random.ts";

/** Bytes that mean something at the border of a format. */
const NASTY: readonly Uint8Array[] = [
  Buffer.from("ffffffffffffffffff01", "hex"), // a varint of 64 bits
  Buffer.from("ffffffffffffffffffffff7f", "hex"), // and one that is too long
  Buffer.from("ffffffff0f", "hex"),
  Buffer.from("0b", "hex"), // a group begins
  Buffer.from("0c", "hex"), // a group ends
  Buffer.from("0a80808080", "hex"), // a length that does not end
  Buffer.from("0affffffff07", "hex"), // a length of 2 GiB
  Buffer.from("c080", "hex"), // no UTF-8
  Buffer.from("eda080", "hex"), // a surrogate
  Buffer.from("0000000000", "hex"),
  Buffer.from("07", "hex"), // no wire type
];

/** A little more than the largest message. */
const BOMB = gzipSync(Buffer.alloc(24 * 1024 * 1024), { level: 9 });
const SMALL_BOMB = gzipSync(Buffer.alloc(200_000));

/** Bytes of any format, changed in one to three places. */
export function mutateBytes(bytes: Uint8Array, random: Random): Uint8Array {
  let mutated: Uint8Array = Uint8Array.from(bytes);
  for (let i = 1 + random.below(3); i > 0; i--) mutated = mutateOnce(mutated, random);
  return mutated;
}

function mutateOnce(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1);
  switch (random.below(6)) {
    case 0:
      if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
      return bytes;
    case 1:
      return bytes.subarray(0, at);
    case 2:
      if (at < bytes.length) bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff]);
      return bytes;
    case 3:
      return insert(bytes, at, random.pick(NASTY));
    case 4: {
      const to = at + random.below(bytes.length - at + 1);
      return insert(bytes, at, bytes.slice(at, to));
    }
    default:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random.below(8))]);
  }
}

function insert(bytes: Uint8Array, at: number, piece: Uint8Array): Uint8Array {
  return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
}

/** Protobuf of a kind that no encoder writes. */
export function hostileBinary(random: Random): Uint8Array {
  const field = 1 + random.below(16);
  const writer = new BinaryWriter();
  switch (random.below(5)) {
    case 0: {
      let nested: Uint8Array = new Uint8Array(0);
      for (let i = random.pick([10, 101, 1_000]); i > 0; i--) {
        nested = new BinaryWriter()
          .tag(random.pick([1, 2, 5, 6]), WireType.LengthDelimited)
          .bytes(nested)
          .finish();
      }
      return nested;
    }
    case 1:
      for (let i = 0; i < 2_000; i++) writer.tag(field, WireType.LengthDelimited).bytes(new Uint8Array(0));
      return writer.finish();
    case 2:
      return writer
        .tag(field, random.pick([0, 1, 2, 3, 4, 5]))
        .raw(random.pick(NASTY))
        .finish();
    case 3:
      return writer
        .tag(2 ** 29 - 1, WireType.LengthDelimited)
        .bytes(new Uint8Array(random.below(2_000)))
        .finish();
    default:
      return Uint8Array.from({ length: random.below(200) }, () => random.below(256));
  }
}

/** JSON text with what parsers differ about. */
export function mutateJson(text: string, random: Random): Uint8Array {
  switch (random.below(10)) {
    case 0:
      return Buffer.from(
        text.replace(/:/, `:${random.pick(["1e400", "-0", "NaN", "0x10", "01", "+1", "1_000", "'a'"])},"a":`),
      );
    case 1:
      return Buffer.from(text.replace("{", '{"__proto__":{"polluted":true},"constructor":{"prototype":{}},'));
    case 2:
      return Buffer.from(text.replace("{", `{${text.slice(1, -1)},`));
    case 3:
      return Buffer.from(text.replace(/"/, '"\\ud800'));
    case 4: {
      const depth = random.pick([10, 101, 5_000]);
      const [open, close] = random.pick([
        ["[", "]"],
        ['{"a":', "}"],
      ] as const);
      return Buffer.from(
        text.replace(/}$/, `,"filter":${open.repeat(depth)}1${close.repeat(random.pick([depth, 0]))}}`),
      );
    }
    case 5:
      return Buffer.from(`\ufeff${text}`);
    case 6:
      return Buffer.from(`${text}${random.pick([text, "}", "]", "\0", "/* */", " ".repeat(5_000)])}`);
    case 7:
      return Buffer.from(text, random.pick(["utf16le", "latin1"]));
    case 8:
      return Buffer.from(random.pick(["", "null", "[]", "1", '"text"', "true", "{", '{"a"']));
    default:
      return mutateBytes(Buffer.from(text), random);
  }
}

/** What a header calls gzip: it is, or it is broken, or much more than it seems. */
export function gzipped(bytes: Uint8Array, random: Random): Uint8Array {
  const choice = random.next();
  if (choice < 0.5) return gzipSync(bytes, { level: 1 });
  if (choice < 0.8) return mutateBytes(gzipSync(bytes, { level: 1 }), random);
  if (choice < 0.9) return bytes;
  return choice < 0.998 ? SMALL_BOMB : BOMB;
}

/** An envelope of gRPC, gRPC-Web or Connect's streams that may lie. */
export function mutateEnvelope(message: Uint8Array, random: Random): Uint8Array {
  const header = Buffer.alloc(5);
  header[0] = random.pick([0, 0, 1, 2, 3, 0x80, 0x81, 0xff]);
  const { length } = message;
  header.writeUInt32BE(random.pick([length, length, 0, Math.max(0, length - 1), length + 1, 2 ** 32 - 1]), 1);
  return Buffer.concat([header, message]);
}
