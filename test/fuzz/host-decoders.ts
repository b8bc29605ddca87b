import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseConfig } from '../../agent/config/load.ts';
import { decodeChunks, encodeChunks } from '../../agent/delta/chunk-code.ts';
import { parseMetadata, whyUnfit } from '../../agent/fencing/agent-metadata.ts';
import { makeIdentity } from '../../agent/link/identity.ts';
import { announcements, claimIn, question } from '../../agent/network/frames.ts';
import { parseDevices, parseRoutes } from '../../agent/network/ip-facts.ts';
import { parseChanges } from '../../agent/network/rtnetlink.ts';
import { dovecotFacts } from '../../agent/observe/doctor/dovecot-places.ts';
import { KnownHosts } from '../../agent/observe/known-host.ts';
import { readCertificate } from '../../agent/platform/certificate-file.ts';
import { doveconfSettings } from '../../agent/platform/doveconf.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import { parseIp } from '../../agent/platform/ip-address.ts';
import { eximMessage, postfixMessage } from '../../agent/services/queue/message-names.ts';
import type { SimRandom } from '../sim/sim-random.ts';
import type { Decoder, Outcome } from './decoder.ts';
import { rawJson, writeJson } from './encodings.ts';
import { mutateText } from './text.ts';
import { mutateBytes, mutateValue, toValue } from './values.ts';

function ip(text: string) {
  const address = parseIp(text);
  if (!address) throw new Error(text);
  return address;
}

/** @throws what is not an error for operators. */
function refusedBy(error: unknown): Outcome {
  if (!(error instanceof OperatorError) || error.code === '' || error.remedy === '') throw error;
  return 'refused';
}

const mac = Buffer.from('020000000001', 'hex');
const claims = [
  question(mac, ip('192.0.2.10'), null),
  question(mac, ip('2001:db8::10'), ip('2001:db8::11')),
  ...announcements(mac, ip('192.0.2.10')),
  ...announcements(mac, ip('2001:db8::10')),
];
const claim: Decoder = {
  name: 'frame of ARP or neighbour discovery',
  from: 'network',
  make: (random) => (random.chance(0.02) ? random.pick(claims) : mutateBytes(random, random.pick(claims), claims)),
  take(frame) {
    const found = claimIn(frame);
    if (found && (found.mac.length !== 6 || (found.address.length !== 4 && found.address.length !== 16)))
      throw new Error('addresses of other lengths');
    return found ? 'accepted' : 'refused';
  },
};

const hosts = [
  'mail-a',
  'mail-a:9720',
  '192.0.2.1:80',
  '[2001:db8::1]:9720',
  'localhost.',
  '::ffff:192.0.2.1',
  '1:2:3:4:5:6:7:8',
  '::',
  '1::',
  '::1.2.3.4',
];
const host: Decoder = {
  name: 'Host header and addresses',
  from: 'network',
  make: (random) => (random.chance(0.05) ? Buffer.from(random.pick(hosts)) : mutateText(random, random.pick(hosts), hosts)),
  take(input) {
    const text = input.toString('latin1');
    const address = parseIp(text);
    if (address && (parseIp(address.text)?.text !== address.text || ![4, 16].includes(address.bytes.length)))
      throw new Error(`${text} is ${address.text}`);
    const known = new KnownHosts(['mail-a', '2001:db8::1']);
    return known.has(text, '192.0.2.1') || address ? 'accepted' : 'refused';
  },
};

function attribute(type: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + ((value.length + 3) & ~3));
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  value.copy(bytes, 4);
  return bytes;
}

function kernelMessage(type: number, ...body: Buffer[]): Buffer {
  const whole = Buffer.concat([Buffer.alloc(16), ...body]);
  whole.writeUInt32LE(whole.length, 0);
  whole.writeUInt16LE(type, 4);
  return whole;
}

const changes = [
  kernelMessage(20, Buffer.from([2, 24, 0, 0, 2, 0, 0, 0]), attribute(1, ip('192.0.2.10').bytes), attribute(2, ip('192.0.2.10').bytes)),
  kernelMessage(21, Buffer.from([10, 64, 0, 0, 2, 0, 0, 0]), attribute(1, ip('2001:db8::10').bytes)),
  kernelMessage(
    24,
    Buffer.from([2, 24, 0, 0, 254, 16, 0, 1, 0, 0, 0, 0]),
    attribute(1, ip('198.51.100.0').bytes),
    attribute(4, Buffer.from([2, 0, 0, 0])),
  ),
  kernelMessage(17, Buffer.alloc(16)),
];
const rtnetlink: Decoder = {
  name: "kernel's word of the network",
  from: 'host',
  make: (random) => mutateBytes(random, Buffer.concat(Array.from({ length: 1 + random.int(3) }, () => random.pick(changes))), changes),
  take: (datagram) => (parseChanges(datagram).length > 0 ? 'accepted' : 'refused'),
};

const devices = [
  {
    ifindex: 2,
    ifname: 'eth0',
    flags: ['BROADCAST', 'MULTICAST', 'UP', 'LOWER_UP'],
    mtu: 1500,
    link_type: 'ether',
    address: '02:00:00:00:00:01',
    permaddr: '02:00:00:00:00:01',
    parentdev: '0000:03:00.0',
    ifalias: 'mailtwin lan',
    linkinfo: { info_kind: 'vlan', info_data: { id: 5 } },
    link: 'eth1',
    addr_info: [{ family: 'inet', local: '192.0.2.10', prefixlen: 24, scope: 'global', tentative: true }],
  },
  {},
];
const routes = [
  { dst: 'default', gateway: '192.0.2.1', dev: 'eth0', protocol: '77', prefsrc: '192.0.2.10', via: { host: '2001:db8::1' }, flags: [] },
];
const ipOutput: Decoder = {
  name: 'output of ip',
  from: 'host',
  make(random) {
    const text = writeJson(mutateValue(random, toValue(random.chance(0.5) ? devices : routes), rawJson));
    return random.chance(0.2) ? mutateBytes(random, text, [text]) : text;
  },
  take(input) {
    const text = input.toString('utf8');
    try {
      parseDevices(text);
      parseRoutes(text, 4);
      return 'accepted';
    } catch (error) {
      return refusedBy(error);
    }
  },
};

const doveconfs = [
  '# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf\nmail_location = maildir:~/Maildir:INDEX=/var/index/%u:CONTROL=/var/control/%d/%n\nnamespace inbox {\n  inbox = yes\n  location = \n  separator = .\n}\nssl_cert = </etc/ssl/mail.pem\nuserdb {\n  args = uid=vmail gid=vmail home=/var/vmail/%d/%n\n  driver = static\n}\n',
  '# 2.4.1-4 (x): /etc/dovecot/dovecot.conf\nmail_driver = maildir\nmail_path = ~/Maildir\nmail_home = /var/vmail/%{user | domain}/%{user | username}\nssl_server_cert_file = /etc/ssl/mail.pem\n',
];
const doveconf: Decoder = {
  name: 'output of doveconf',
  from: 'host',
  make: (random) => mutateText(random, random.pick(doveconfs), doveconfs),
  take(input) {
    const text = input.toString('utf8');
    dovecotFacts(text);
    return doveconfSettings(text).length > 0 ? 'accepted' : 'refused';
  },
};

const queueNames = ['4B3C1F2A9D', '4WxY5B1zPkz2Q0', '1rABCd-0000AB-12', '1rABCd-00000001abc-1aBc-H', '1rABCd-0000AB-12-D'];
const queue: Decoder = {
  name: 'name in a queue',
  from: 'host',
  make: (random) => (random.chance(0.1) ? Buffer.from(random.pick(queueNames)) : mutateText(random, random.pick(queueNames), queueNames)),
  take(input) {
    const name = input.toString('latin1');
    const found = postfixMessage(name) ?? eximMessage(name);
    if (!Number.isFinite(found?.timeMs ?? 0)) throw new Error(`${name} came at ${found?.timeMs}`);
    return found ? 'accepted' : 'refused';
  },
};

const metadata = `<?xml version="1.0" ?><resource-agent name="fence_x" shortdesc="x"><parameters><parameter name="method" unique="0"><content type="select" default="onoff"><option value="onoff"/></content></parameter></parameters><actions><action name="on" automatic="0"/><action name="off"/><action name="status" on_target="0"/></actions></resource-agent>`;
const fenceAgent: Decoder = {
  name: 'metadata of a fence agent',
  from: 'host',
  make: (random) => mutateText(random, metadata, [metadata]),
  take(input) {
    const found = parseMetadata(input.toString('utf8'));
    if (!found) return 'refused';
    whyUnfit('fence_x', found, {});
    return 'accepted';
  },
};

const chunkLists = [0, 1, 40].map((count) =>
  encodeChunks({
    sizes: { min: 2048, averageBits: 13, max: 65_536 },
    chunks: Array.from({ length: count }, (_, i) => ({ offset: i * 5000, length: 5000, id: BigInt(i) * 0x1234_5678_9abc_defn })),
  }),
);
const chunks: Decoder = {
  name: 'stored list of chunks',
  from: 'host',
  make: (random) => (random.chance(0.05) ? random.pick(chunkLists) : mutateBytes(random, random.pick(chunkLists), chunkLists)),
  take(input) {
    const list = decodeChunks(input);
    if (!list) return 'refused';
    if (!encodeChunks(list).equals(input)) throw new Error('it is another one when it is stored again');
    return 'accepted';
  },
};

function configText(): string {
  return readFileSync(fileURLToPath(new URL('../../deploy/examples/primary.yaml', import.meta.url)), 'utf8');
}

function config(): Decoder {
  const text = configText();
  return {
    name: 'configuration',
    from: 'host',
    make: (random) =>
      mutateText(random, text, ['a: &a [*a]', '? {}', '- - -\n', '{}', '[[[[', '!!binary x', '*x', '"\\u0000"', 'roots:\n']),
    take(input) {
      try {
        parseConfig('/etc/mailtwin/mailtwin.yaml', input.toString('utf8'), (path) => path);
        return 'accepted';
      } catch (error) {
        return refusedBy(error);
      }
    },
  };
}

/** A certificate of the mail server, of its file: PEM and what is inside it. */
function certificate(): Decoder {
  const dir = mkdtempSync(join(tmpdir(), 'mailtwin-fuzz-'));
  const { files } = makeIdentity('mail-a');
  const pem = files['node.crt'] ?? '';
  const key = join(dir, 'key.pem');
  writeFileSync(key, files['node.key'] ?? '', { mode: 0o600 });
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  const asPem = (bytes: Buffer) => Buffer.from(`-----BEGIN CERTIFICATE-----\n${bytes.toString('base64')}\n-----END CERTIFICATE-----\n`);
  const file = join(dir, 'cert.pem');
  return {
    name: 'certificate of the mail server',
    from: 'host',
    make(random: SimRandom) {
      if (random.chance(0.02)) return Buffer.from(pem);
      return random.chance(0.7) ? asPem(mutateBytes(random, der, [der])) : mutateText(random, pem, [pem]);
    },
    take(input) {
      writeFileSync(file, input);
      const read = readCertificate(file, key);
      if (read.problem === null && read.endsMs === null) throw new Error('a certificate without an end');
      return read.endsMs === null ? 'refused' : 'accepted';
    },
    close: async () => rmSync(dir, { recursive: true, force: true }),
  };
}

export function hostDecoders(): Decoder[] {
  return [claim, host, rtnetlink, ipOutput, doveconf, queue, fenceAgent, chunks, config(), certificate()];
}
