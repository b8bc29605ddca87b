import type { WebSocket } from 'ws';
import { encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import type { Clock } from '../platform/clock.ts';
import type { ChannelEnd } from './channel.ts';

/** How long a peer has to take the reason and close before the socket is cut. */
const farewellMs = 1000;

/** Tells the peer why, closes, and cuts the socket when the peer does not close too. */
export function refuseAndClose(ws: WebSocket, end: ChannelEnd, clock: Clock): void {
  ws.send(
    encode({ type: 'refuse', code: end.code.slice(0, 100), detail: end.detail.slice(0, limits.textBytesMax) }),
    { binary: true },
    () => {},
  );
  ws.close(1000);
  const timer = clock.after(farewellMs, () => ws.terminate());
  ws.once('close', () => timer.cancel());
}

/** What a closed WebSocket tells (RFC 6455, 7.4.1). */
export function closedEnd(code: number, reason: Buffer): ChannelEnd {
  const text = reason.length > 0 ? `: ${reason.toString('utf8')}` : '';
  if (code === 1009) return { code: 'oversized-frame', detail: 'the other side refused a frame that was too large' };
  if (code === 1002 || code === 1003 || code === 1007) return { code: 'bad-message', detail: `the other side refused what it got${text}` };
  return { code: 'connection-lost', detail: `the connection was lost (${code})${text}` };
}

/** What an error of the socket or of the WebSocket's framing means. */
export function socketErrorEnd(error: Error): ChannelEnd {
  const code = 'code' in error ? String(error.code) : '';
  if (code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH' || code === 'WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH') {
    return { code: 'oversized-frame', detail: `the other side sent a frame larger than ${limits.frameBytesMax} bytes` };
  }
  if (code.startsWith('WS_ERR_'))
    return { code: 'bad-message', detail: `the other side sent what is no WebSocket frame: ${error.message}` };
  return { code: 'connection-lost', detail: `the connection was lost: ${error.message}` };
}
