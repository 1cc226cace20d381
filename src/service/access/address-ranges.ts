import { BlockList, isIP, SocketAddress } from "node:net";

const LENGTH = /^(0|[1-9]\d{0,2})$/;
const BITS = { ipv4: 32, ipv6: 128 } as const;
/** What starts an IPv4 address that is written as an IPv6 one, in the shortest way to write it. */
const MAPPED = "::ffff:";

interface Address {
  readonly address: string;
  readonly family: keyof typeof BITS;
}

/** Ranges of IP addresses. An IPv4 address that is written as an IPv6 one, `::ffff:10.0.0.1`, is the IPv4 one. */
export class AddressRanges {
  /** Apart, as one BlockList also finds IPv4 addresses in ranges of IPv6. */
  readonly #lists = { ipv4: new BlockList(), ipv6: new BlockList() };

  /** Adds an address, or a range in CIDR notation; false for what is neither, or is IPv4 written as IPv6. */
  add(range: string): boolean {
    const [network = "", length, ...rest] = range.split("/");
    const parsed = parseAddress(network);
    if (parsed?.family !== `ipv${isIP(network)}` || network.includes("%") || rest.length > 0) return false;
    const bits = BITS[parsed.family];
    if (length !== undefined && (!LENGTH.test(length) || Number(length) > bits)) return false;
    this.#lists[parsed.family].addSubnet(parsed.address, Number(length ?? bits), parsed.family);
    return true;
  }

  /** False for what is no address. */
  has(address: string): boolean {
    const parsed = parseAddress(address);
    return parsed !== undefined && this.#lists[parsed.family].check(parsed.address, parsed.family);
  }
}

function parseAddress(text: string): Address | undefined {
  const [address = ""] = text.split("%");
  const version = isIP(address);
  if (version === 0) return undefined;
  if (version === 4) return { address, family: "ipv4" };
  const ipv4 = /ffff/i.test(address) ? ipv4In(address) : undefined;
  return ipv4 === undefined ? { address, family: "ipv6" } : { address: ipv4, family: "ipv4" };
}

function ipv4In(ipv6: string): string | undefined {
  const inside = ipv6.slice(MAPPED.length);
  if (ipv6.startsWith(MAPPED) && isIP(inside) === 4) return inside;
  const { address: shortest } = new SocketAddress({ address: ipv6, family: "ipv6" });
  return shortest === ipv6 ? undefined : ipv4In(shortest);
}
