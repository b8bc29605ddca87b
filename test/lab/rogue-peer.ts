import { connect as tlsConnect } from 'node:tls';
import { WebSocket } from 'ws';
import { loadConfig } from '../../agent/config/load.ts';
import { makeHello, type Hello } from '../../agent/link/handshake.ts';
import { loadIdentity } from '../../agent/link/identity.ts';
import { pinFile } from '../../agent/link/pins.ts';
import { clientTls } from '../../agent/link/tls.ts';
import { decode } from '../../protocol/codec.ts';
import type { Message } from '../../protocol/messages.ts';
import { emptyPosition } from '../../protocol/position.ts';
import type { SmallNode } from './small-pair.ts';
import { waitFor } from './waiting.ts';

/** A program that holds the standby's key and says to the primary what no standby would say. */
export class RoguePeer {
  readonly ws: WebSocket;
  /** The first message that the standby itself would send. */
  readonly hello: Hello;
  readonly got: Message[] = [];
  closed = false;

  private constructor(ws: WebSocket, hello: Hello) {
    this.ws = ws;
    this.hello = hello;
    ws.on('message', (data: Buffer) => this.got.push(decode(data, () => 0)));
    ws.on('close', () => (this.closed = true));
    ws.on('error', () => (this.closed = true));
  }

  static async connect(standby: SmallNode, primaryPort: number): Promise<RoguePeer> {
    const identity = loadIdentity(standby.state);
    const pin = pinFile(standby.state).read();
    if (!pin) throw new Error('the standby is not paired');
    const socket = tlsConnect(clientTls(identity, 'link', { host: '127.0.0.1', port: primaryPort }));
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
    });
    const ws = new WebSocket(`ws://127.0.0.1:${primaryPort}/link`, { createConnection: () => socket, perMessageDeflate: false });
    const hello = makeHello(
      loadConfig(standby.configFile),
      pin,
      { role: 'standby', epoch: 1, position: emptyPosition, agentVersion: '0', serverVersion: null, boot: 'rogue', port: 0, active: false },
      Date.now(),
    );
    const peer = new RoguePeer(ws, hello);
    await new Promise<void>((resolve, reject) => {
      ws.once('open', resolve);
      ws.once('error', reject);
    });
    return peer;
  }

  /** Waits until the other side has closed; the code that it gave, or null. */
  async refused(): Promise<string | null> {
    await waitFor('the primary to close the connection', 60_000, () => this.closed);
    const last = this.got.findLast((message) => message.type === 'refuse');
    return last?.type === 'refuse' ? last.code : null;
  }
}
