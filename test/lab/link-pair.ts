import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import type { Message } from '../../protocol/messages.ts';
import { emptyPosition } from '../../protocol/position.ts';
import { takeoverDefaults } from '../../agent/config/takeover-sections/takeover.ts';
import type { Config } from '../../agent/config/config.ts';
import type { Channel, ChannelEnd } from '../../agent/link/channel.ts';
import { startConnector, type Connector } from '../../agent/link/connector.ts';
import type { Hello, HelloFields } from '../../agent/link/handshake.ts';
import { loadIdentity, makeIdentity, type Identity } from '../../agent/link/identity.ts';
import { startListener, type Listener, type LinkOptions } from '../../agent/link/listener.ts';
import { pinFile, type PinnedPeer, type Pins } from '../../agent/link/pins.ts';
import { systemClock } from '../../agent/platform/clock.ts';
import type { Log } from '../../agent/platform/log.ts';

/** Waits for a condition with a bounded deadline. */
export async function until<T>(what: string, look: () => T | false | null | undefined, timeoutMs = 30_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const seen = look();
    if (seen !== false && seen !== null && seen !== undefined) return seen;
    if (performance.now() > deadline) throw new Error(`waited in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export interface LoggedLine {
  level: 'debug' | 'info' | 'warn' | 'error';
  facts: Record<string, unknown>;
  text: string;
}

/** One node of a test pair: real keys and a real state directory, and whatever channel it got. */
export class TestNode {
  readonly dir = mkdtempSync(join(tmpdir(), 'mailtwin-link-'));
  readonly config: Config;
  readonly pins: Pins;
  readonly lines: LoggedLine[] = [];
  readonly channels: {
    channel: Channel;
    hello: Hello;
    address: string;
    got: { message: Message; done: () => void }[];
    end: ChannelEnd | null;
  }[] = [];
  identity: Identity;
  boot = 'boot-1';
  role: HelloFields['role'];
  /** Calls `done` of what arrives at once. */
  consumes = true;
  listener: Listener | null = null;
  connector: Connector | null = null;

  constructor(node: string, role: 'primary' | 'standby') {
    this.role = role;
    this.identity = this.newKey(node);
    this.pins = pinFile(this.dir);
    this.config = {
      file: join(this.dir, 'mailtwin.yaml'),
      node,
      role,
      state: this.dir,
      listen: { host: '127.0.0.1', port: 0 },
      peer: { addresses: [] },
      roots: [{ name: 'mail', path: join(this.dir, 'mail'), format: 'maildir', mayBeEmpty: false, exclude: [], staging: null }],
      capture: { watcher: 'auto', settleMs: 3, restMaxMs: 1000, rescanHours: 24 },
      limits: { bandwidth: [], massDeleteShare: 0.2, massDeleteFilesMin: 1000, freeBytesMin: 0 },
      history: { days: 14, bytesMax: 1e9 },
      scrub: { days: 14, bytesPerSecondMax: 1e9 },
      metrics: null,
      log: { level: 'info' },
      fencing: [],
      services: null,
      network: null,
      takeover: takeoverDefaults,
      notices: null,
    };
  }

  /** Makes a key pair and puts it into the state directory. */
  newKey(node = this.config.node): Identity {
    const made = makeIdentity(node);
    for (const [name, content] of Object.entries(made.files)) writeFileSync(join(this.dir, name), content);
    return (this.identity = loadIdentity(this.dir));
  }

  get log(): Log {
    const at = (level: LoggedLine['level']) => (facts: object, text: string) =>
      void this.lines.push({ level, facts: facts as Record<string, unknown>, text });
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  }

  get options(): LinkOptions {
    return {
      config: this.config,
      identity: this.identity,
      pins: this.pins,
      clock: systemClock,
      log: this.log,
      hello: () => ({
        role: this.role,
        epoch: 1,
        position: emptyPosition,
        agentVersion: '0.1.0',
        serverVersion: null,
        boot: this.boot,
        port: 0,
        active: this.role === 'primary',
      }),
      onChannel: (channel, hello, address) => {
        const entry: TestNode['channels'][number] = { channel, hello, address, got: [], end: null };
        this.channels.push(entry);
        channel.onMessage((message, done) => {
          entry.got.push({ message, done });
          if (this.consumes) done();
        });
        void channel.ended.then((end) => (entry.end = end));
      },
    };
  }

  async listen(
    pairing?: (socket: TLSSocket, address: string) => void,
    onTurnedAway: LinkOptions['onTurnedAway'] = () => {},
  ): Promise<number> {
    this.listener = await startListener({ ...this.options, onTurnedAway, ...(pairing ? { pairing } : {}) });
    return this.listener.port;
  }

  connect(...ports: number[]): void {
    this.config.peer.addresses = ports.map((port) => ({ host: '127.0.0.1', port }));
    this.connector = startConnector({ ...this.options, random: () => 0 });
  }

  async stop(): Promise<void> {
    await this.connector?.stop();
    await this.listener?.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Pins each node for the other, as pairing does. */
export function introduce(a: TestNode, b: TestNode, pair = 'pair-1'): void {
  const pinOf = (node: TestNode): PinnedPeer => ({
    pair,
    node: node.config.node,
    spki: node.identity.spki,
    fingerprint: node.identity.fingerprint,
    addresses: [],
    pairedAt: '2026-01-01T00:00:00.000Z',
    secret: Buffer.alloc(32, 7),
  });
  a.pins.write(pinOf(b));
  b.pins.write(pinOf(a));
}
