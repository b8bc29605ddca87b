/**
 * Reads what the kernel tells of changes to links, addresses and routes (rtnetlink(7), linux/rtnetlink.h). Pure.
 */
export type NetworkChange = {
  /** Something was removed, not added or changed. */
  gone: boolean;
  /** Port number of the socket that asked for it: usually the number of its process. 0: the kernel itself. */
  by: number;
} & (
  | { what: 'link' }
  /** `address`: 4 or 16 bytes. */
  | { what: 'address'; address: Buffer | null }
  /** `to`: 4 or 16 bytes, null for the default route. `replaces`: it took the place of another one, which nothing tells. */
  | { what: 'route'; protocol: number; to: Buffer | null; length: number; replaces: boolean }
);

const headerBytes = 16;
const NLM_F_REPLACE = 0x100;
const types: Record<number, { what: NetworkChange['what']; gone: boolean }> = {
  16: { what: 'link', gone: false },
  17: { what: 'link', gone: true },
  20: { what: 'address', gone: false },
  21: { what: 'address', gone: true },
  24: { what: 'route', gone: false },
  25: { what: 'route', gone: true },
};
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const RTA_DST = 1;

/** The changes of one datagram. What is cut short or of another kind is left out. */
export function parseChanges(datagram: Buffer): NetworkChange[] {
  const found: NetworkChange[] = [];
  for (let at = 0; at + headerBytes <= datagram.length;) {
    const length = datagram.readUInt32LE(at);
    if (length < headerBytes || at + length > datagram.length) break;
    const kind = types[datagram.readUInt16LE(at + 4)];
    const change = kind && changeIn(datagram.subarray(at, at + length), kind);
    if (change) found.push(change);
    at += (length + 3) & ~3;
  }
  return found;
}

function changeIn(message: Buffer, { what, gone }: { what: NetworkChange['what']; gone: boolean }): NetworkChange | null {
  const by = message.readUInt32LE(12);
  const body = message.subarray(headerBytes);
  if (what === 'link') return { what, gone, by };
  if (what === 'address') {
    if (body.length < 8) return null;
    const attributes = attributesOf(body.subarray(8));
    return { what, gone, by, address: attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS) ?? null };
  }
  if (body.length < 12) return null;
  const replaces = !gone && (message.readUInt16LE(6) & NLM_F_REPLACE) !== 0;
  const to = attributesOf(body.subarray(12)).get(RTA_DST) ?? null;
  return { what, gone, by, protocol: body.readUInt8(5), length: body.readUInt8(1), to, replaces };
}

function attributesOf(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = bytes.readUInt16LE(at);
    if (length < 4 || at + length > bytes.length) break;
    found.set(bytes.readUInt16LE(at + 2) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}
