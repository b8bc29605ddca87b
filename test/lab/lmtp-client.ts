import { connect, type Socket } from 'node:net';
import type { Endpoint } from './dovecot.ts';

const answerMs = 60_000;

/** The server's word on one recipient. */
export interface LmtpAnswer {
  recipient: string;
  /** True when the server has taken responsibility for the message: from then on it must not be lost. */
  accepted: boolean;
  text: string;
}

/** LMTP (RFC 2033) on one connection; one delivery at a time. */
export class LmtpClient {
  readonly #socket: Socket;
  #buffer = '';
  #failure: Error | null = null;
  #wake: (() => void) | null = null;

  /** @throws when the server cannot be reached or does not greet. */
  static async open(endpoint: Endpoint): Promise<LmtpClient> {
    const client = new LmtpClient(connect(endpoint));
    await client.#expect(await client.#reply(), 220);
    client.#socket.write('LHLO lab\r\n');
    await client.#expect(await client.#reply(), 250);
    return client;
  }

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1');
    socket.setTimeout(answerMs, () => socket.destroy(new Error('the LMTP server is silent')));
    socket.on('data', (text: string) => {
      this.#buffer += text;
      this.#wake?.();
    });
    const fail = (error: Error) => {
      this.#failure ??= error;
      this.#wake?.();
    };
    socket.on('error', fail);
    socket.on('close', () => fail(new Error('the LMTP server closed the connection')));
  }

  /** Delivers a message with LF or CRLF line ends. @throws when the connection fails or the server refuses the sender. */
  async deliver(sender: string, recipients: readonly string[], message: Buffer): Promise<LmtpAnswer[]> {
    this.#socket.write(`MAIL FROM:<${sender}>\r\n`);
    await this.#expect(await this.#reply(), 250);
    const answers: LmtpAnswer[] = [];
    const accepted: string[] = [];
    for (const recipient of recipients) {
      this.#socket.write(`RCPT TO:<${recipient}>\r\n`);
      const text = await this.#reply();
      if (text.startsWith('250')) accepted.push(recipient);
      else answers.push({ recipient, accepted: false, text });
    }
    if (accepted.length === 0) {
      this.#socket.write('RSET\r\n');
      await this.#expect(await this.#reply(), 250);
      return answers;
    }
    this.#socket.write('DATA\r\n');
    await this.#expect(await this.#reply(), 354);
    const stuffed = message.toString('latin1').replace(/\r?\n/g, '\r\n').replace(/^\./gm, '..');
    this.#socket.write(Buffer.from(`${stuffed.endsWith('\r\n') ? stuffed : `${stuffed}\r\n`}.\r\n`, 'latin1'));
    for (const recipient of accepted) {
      const text = await this.#reply();
      answers.push({ recipient, accepted: text.startsWith('250'), text });
    }
    return answers;
  }

  /** Ends the connection without a word. */
  abandon(): void {
    this.#socket.destroy();
  }

  async close(): Promise<void> {
    if (this.#failure === null) this.#socket.write('QUIT\r\n');
    await this.#reply().catch(() => '');
    this.#socket.destroy();
  }

  async #expect(reply: string, code: number): Promise<void> {
    if (reply.startsWith(String(code))) return;
    this.#socket.destroy();
    throw new Error(`LMTP server said: ${reply}`);
  }

  /** The last line of the next reply. */
  async #reply(): Promise<string> {
    for (;;) {
      const match = /^(?:\d{3}-.*\r\n)*(\d{3}(?: .*)?)\r\n/.exec(this.#buffer);
      if (match) {
        this.#buffer = this.#buffer.slice(match[0].length);
        return match[1] ?? '';
      }
      if (this.#failure) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
