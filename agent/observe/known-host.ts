import { parseIp } from '../platform/ip-address.ts';

/** As a Host header has it (RFC 9110 7.2): a name or an address, and mostly a port. */
const hostForm = /^(?:\[([0-9a-f:.]+)\]|([^:@/\\?#[\]\s]+))(?::\d{1,5})?$/i;
const ofEveryHost = ['localhost', '127.0.0.1', '::1'];

/**
 * Tells whether a request was meant for this server. A page of somebody else's, in the browser of somebody who can reach this
 * server, gets its answers when its own name is made to lead here (DNS rebinding); then the Host header has that name.
 */
export class KnownHosts {
  readonly #names: ReadonlySet<string>;

  /** @param names what this server is called, beside what every host is called: names and addresses. */
  constructor(names: readonly string[]) {
    this.#names = new Set([...ofEveryHost, ...names].map(plain));
  }

  /**
   * @param header null where the request has none, which no browser makes.
   * @param localAddress where the connection came in: who wrote an address and arrived there meant this server.
   */
  has(header: string | null, localAddress: string | undefined): boolean {
    if (header === null) return true;
    const match = hostForm.exec(header);
    const host = match?.[1] ?? match?.[2];
    if (host === undefined) return false;
    return this.#names.has(plain(host)) || (parseIp(host) !== null && localAddress !== undefined && plain(host) === plain(localAddress));
  }
}

/** One way to write it: addresses as RFC 5952 does, names in small letters and without the dot of the root. */
function plain(host: string): string {
  const address = parseIp(host.replace(/^::ffff:(?=[\d.]+$)/i, ''));
  return address?.text ?? host.toLowerCase().replace(/\.$/, '');
}
