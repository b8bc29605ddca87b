import { sleep, type Clock } from '../platform/clock.ts';
import { errnoCode } from '../platform/files.ts';
import type { IpAddress } from '../platform/ip-address.ts';
import type { OpenPacketPort, PacketPort } from '../platform/packet-socket.ts';
import { claimIn, question, showMac } from './frames.ts';

/** One address that is asked for on one device. */
export interface Question {
  address: IpAddress;
  /** Port, or device of a VLAN. */
  device: string;
  /** An address of this host to ask from; null asks from nobody, as for an address that may become ours. */
  source: IpAddress | null;
  /** How long to wait for an answer. */
  waitMs: number;
}

export interface Answer {
  /** Who answered first, `02:00:5e:10:00:01`; null when nobody did. */
  mac: string | null;
  /** Why the question could not be asked, for example that the port is down; null when it was. */
  error: string | null;
}

export interface Asking {
  clock: Clock;
  openPort: OpenPacketPort;
}

/**
 * How long silence has to last until an address counts as free. On a LAN an answer takes milliseconds; three questions
 * in that time let one or two frames get lost. RFC 5227 waits longer because it reckons with many hosts that start at
 * once; here the one host that may rightly have the address has been fenced or has stepped down before.
 */
export const silenceMs = 500;
/** How long a gateway may take: its answer ends the wait, so that only a dead one costs this. */
export const gatewayMs = 1000;
/** When a question is asked. */
const askAtMs = [0, 150, 300];
const lookEveryMs = 10;

/**
 * Asks all questions at once and waits until each is answered or its time is over.
 *
 * @param own addresses of this host's ports: what they answer is no answer.
 * @returns one answer a question, in their order.
 */
export async function ask(parts: Asking, questions: readonly Question[], own: ReadonlySet<string>): Promise<Answer[]> {
  const ports = new Map<string, { port: PacketPort; asked: number[] } | { error: string }>();
  const answers: Answer[] = questions.map(() => ({ mac: null, error: null }));
  try {
    questions.forEach(({ device, address }, i) => {
      const kind = address.family === 4 ? 'arp' : 'ndp';
      const key = `${kind} ${device}`;
      const opened = ports.get(key) ?? attempt(() => ({ port: parts.openPort(device, kind), asked: [] as number[] }));
      ports.set(key, opened);
      if ('error' in opened) answers[i] = { mac: null, error: opened.error };
      else opened.asked.push(i);
    });
    const start = parts.clock.monotonicMs();
    for (let asked = 0; ;) {
      const passed = parts.clock.monotonicMs() - start;
      const isOpen = (i: number) => answers[i]?.mac === null && answers[i].error === null && passed < (questions[i]?.waitMs ?? 0);
      if (asked < askAtMs.length && passed >= (askAtMs[asked] ?? 0)) {
        asked++;
        for (const opened of ports.values()) if ('port' in opened) send(opened.port, opened.asked.filter(isOpen), questions, answers);
      }
      for (const opened of ports.values()) if ('port' in opened) receive(opened.port, opened.asked, questions, answers, own);
      if (!questions.some((_, i) => isOpen(i))) return answers;
      await sleep(parts.clock, lookEveryMs);
    }
  } finally {
    for (const opened of ports.values()) if ('port' in opened) opened.port.close();
  }
}

function attempt<T>(open: () => T): T | { error: string } {
  try {
    return open();
  } catch (error) {
    const code = errnoCode(error);
    if (code === undefined) throw error;
    return { error: errorTexts[code] ?? code };
  }
}

const errorTexts: Record<string, string> = {
  ENODEV: 'there is no such port',
  ENXIO: 'there is no such port',
  ENETDOWN: 'the port is down',
  EPERM: 'not permitted (CAP_NET_RAW is missing)',
};

function send(port: PacketPort, asked: readonly number[], questions: readonly Question[], answers: Answer[]): void {
  for (const i of asked) {
    const each = questions[i];
    if (!each) continue;
    const sent = attempt(() => port.send(question(port.mac, each.address, each.source)));
    if (sent !== undefined) answers[i] = { mac: null, error: sent.error };
  }
}

function receive(
  port: PacketPort,
  asked: readonly number[],
  questions: readonly Question[],
  answers: Answer[],
  own: ReadonlySet<string>,
): void {
  for (let frame = port.receive(); frame !== null; frame = port.receive()) {
    const claim = claimIn(frame);
    if (claim === null) continue;
    const mac = showMac(claim.mac);
    if (own.has(mac)) continue;
    for (const i of asked) {
      const answer = answers[i];
      const wanted = questions[i]?.address;
      if (answer && answer.mac === null && wanted && wanted.bytes.equals(claim.address)) answer.mac = mac;
    }
  }
}
