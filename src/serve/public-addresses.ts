/**
 * Addresses of the public internet, by the registries of IANA for special purposes: what a server may be asked to fetch
 * from. All others lead into its own network, or nowhere.
 */
import { BlockList, isIP } from "node:net";

/** IPv4 outside the public internet (IANA IPv4 Special-Purpose Address Registry, and multicast). */
const PRIVATE_4: readonly (readonly [string, number])[] = [
  ["0.0.0.0", 8], // this network
  ["10.0.0.0", 8], // private
  ["100.64.0.0", 10], // shared by carriers
  ["127.0.0.0", 8], // loopback
  ["169.254.0.0", 16], // link-local; services of clouds answer there with credentials
  ["172.16.0.0", 12], // private
  ["192.0.0.0", 24], // protocol assignments
  ["192.0.2.0", 24], // documentation
  ["192.31.196.0", 24], // AS112
  ["192.52.193.0", 24], // AMT
  ["192.88.99.0", 24], // 6to4 relays
  ["192.168.0.0", 16], // private
  ["192.175.48.0", 24], // AS112
  ["198.18.0.0", 15], // benchmarks
  ["198.51.100.0", 24], // documentation
  ["203.0.113.0", 24], // documentation
  ["224.0.0.0", 4], // multicast
  ["240.0.0.0", 4], // reserved, broadcast
  // Clouds answer here too, outside the reserved ranges.
  ["168.63.129.16", 32],
];

/** Within the one range of IPv6 that is assigned to the public internet. */
const PRIVATE_6: readonly (readonly [string, number])[] = [
  ["2001::", 23], // protocol assignments, Teredo, benchmarks, ORCHID
  ["2001:db8::", 32], // documentation
  ["2002::", 16], // 6to4: holds an IPv4 address
  ["2620:4f:8000::", 48], // AS112
  ["3fff::", 20], // documentation
];

const private4 = new BlockList();
for (const [net, prefix] of PRIVATE_4) private4.addSubnet(net, prefix, "ipv4");
const public6 = new BlockList();
public6.addSubnet("2000::", 3, "ipv6");
const private6 = new BlockList();
for (const [net, prefix] of PRIVATE_6) private6.addSubnet(net, prefix, "ipv6");

/** Whether an IP address is one of the public internet; false for what is no address. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !private4.check(address, "ipv4");
    case 6:
      // A zone belongs to a link.
      if (address.includes("%")) return false;
      return public6.check(address, "ipv6") && !private6.check(address, "ipv6");
    default:
      return false;
  }
}
