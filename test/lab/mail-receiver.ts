import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createHttp, type IncomingHttpHeaders } from 'node:http';

export interface TakenMail {
  from: string;
  to: string[];
  user: string | null;
  text: string;
}

/** A small SMTP server (RFC 5321, AUTH PLAIN) on loopback that keeps what it takes. `refusing` makes it busy (421). */
export class MailReceiver implements AsyncDisposable {
  readonly mails: TakenMail[] = [];
  refusing = false;
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async start(port = 0): Promise<MailReceiver> {
    const receiver = new MailReceiver();
    await new Promise<void>((resolve) => receiver.#server.listen(port, '127.0.0.1', resolve));
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }

  #serve(socket: Socket): void {
    this.connections++;
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
    const say = (line: string) => void socket.write(`${line}\r\n`);
    if (this.refusing) {
      say('421 busy');
      socket.end();
      return;
    }
    say('220 receiver ESMTP');
    let mail: TakenMail = { from: '', to: [], user: null, text: '' };
    let user: string | null = null;
    let inData = false;
    let rest = '';
    const command = (line: string) => {
      const verb = line.slice(0, 4).toUpperCase();
      if (verb === 'EHLO') return say('250-receiver\r\n250 AUTH PLAIN');
      if (verb === 'AUTH') {
        user = Buffer.from(line.split(' ')[2] ?? '', 'base64')
          .toString()
          .split('\0')
          .slice(1)
          .join(':');
        return say('235 ok');
      }
      if (verb === 'MAIL') mail = { from: /<(.*)>/.exec(line)?.[1] ?? '', to: [], user, text: '' };
      if (verb === 'RCPT') mail.to.push(/<(.*)>/.exec(line)?.[1] ?? '');
      if (verb === 'DATA') {
        inData = true;
        return say('354 go on');
      }
      say(verb === 'QUIT' ? '221 bye' : '250 ok');
      if (verb === 'QUIT') socket.end();
    };
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\r\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (!inData) command(line);
        else if (line === '.') {
          inData = false;
          this.mails.push(mail);
          say('250 taken');
        } else mail.text += `${line.replace(/^\.\./, '.')}\n`;
      }
    });
  }
}

/** An HTTP server on loopback that keeps the JSON that is posted to it. */
export class HookReceiver implements AsyncDisposable {
  readonly posts: { headers: IncomingHttpHeaders; body: Record<string, unknown> }[] = [];
  status = 200;
  readonly #server = createHttp((request, response) => {
    let text = '';
    request.setEncoding('utf8').on('data', (part: string) => (text += part));
    request.on('end', () => {
      if (this.status === 200) this.posts.push({ headers: request.headers, body: JSON.parse(text) as Record<string, unknown> });
      response.writeHead(this.status).end();
    });
  });

  static async start(): Promise<HookReceiver> {
    const receiver = new HookReceiver();
    await new Promise<void>((resolve) => receiver.#server.listen(0, '127.0.0.1', resolve));
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/hook`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }
}
