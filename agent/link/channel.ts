import type { Message } from '../../protocol/messages.ts';

/** Why a channel ended: `code` is stable, `detail` is for people. */
export interface ChannelEnd {
  code: string;
  detail: string;
}

/**
 * One established, authenticated connection to the peer, after the hello exchange.
 *
 * Control messages (heartbeats, acknowledgements, watermarks) overtake bulk messages that have not yet been given to
 * the socket. Bulk messages need credit, which the other side grants as it consumes (I12).
 */
export interface Channel {
  /** Sends a control message; bounded by its own nature (each kind has a known rate). */
  sendControl(message: Message): void;
  /**
   * Sends a bulk message. Resolves when it was handed to the socket, in order.
   *
   * @throws ChannelClosed when the channel ends first.
   */
  sendBulk(message: Message): Promise<void>;
  /**
   * Gives every message of the peer in order. `done` must be called when the message was consumed: that grants the
   * peer new credit.
   */
  onMessage(handler: (message: Message, done: () => void) => void): void;
  /** Set by the sender while what it sends is background fill: only then the configured bandwidth limit holds. */
  throttled: boolean;
  /** Resolves when the channel has ended, for whatever reason. Never rejects. */
  readonly ended: Promise<ChannelEnd>;
  /** Ends the channel; `code` and `detail` are told to the peer. */
  close(end: ChannelEnd): void;
}

export class ChannelClosed extends Error {
  readonly code = 'channel-closed';
  readonly end: ChannelEnd;
  constructor(end: ChannelEnd) {
    super(`the connection to the peer ended: ${end.detail}`);
    this.end = end;
  }
}
