import { connect, createServer, type Server, type Socket } from 'node:net';
import { existsSync } from 'node:fs';
import type { DebianHost } from './debian-host.ts';
import { LabProcess } from './processes.ts';
import { waitFor } from './waiting.ts';

const archiveName = 'deb.debian.org';
const startMs = 10_000;

/** What runs where the machine's own network is, and hands on what comes by a socket of the file system. */
const relay = `const { connect, createServer } = require('node:net');
createServer((client) => {
  const archive = connect(80, ${JSON.stringify(archiveName)});
  for (const [from, to] of [[client, archive], [archive, client]]) from.on('error', () => to.destroy()).pipe(to);
}).listen(process.argv[1]);`;

/**
 * Debian's package archive for the hosts of a lab, whose network leads nowhere: they find it at an address of the LAN that
 * is the test's own. `open` comes before the test process enters the LAN, `serve` after that.
 */
export class Archive implements AsyncDisposable {
  readonly #relay: LabProcess;
  readonly #path: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;

  private constructor(process: LabProcess, path: string) {
    this.#relay = process;
    this.#path = path;
  }

  /** @param path of a socket that is made. */
  static async open(path: string): Promise<Archive> {
    const archive = new Archive(new LabProcess(process.execPath, ['-e', relay, path]), path);
    await waitFor('the way to the package archive', startMs, () => existsSync(path));
    return archive;
  }

  /** @param address of the test in the LAN; `hosts` know the archive's name by it from then on. */
  async serve(address: string, hosts: readonly DebianHost[]): Promise<void> {
    const server = createServer((client) => {
      const upstream = connect(this.#path);
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        this.#sockets.add(from);
        from.on('error', () => to.destroy());
        from.on('close', () => this.#sockets.delete(from));
        from.pipe(to);
      }
    });
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(80, address, resolve));
    this.#server = server;
    for (const host of hosts) host.write('/etc/hosts', `127.0.0.1 localhost\n127.0.1.1 ${host.name}\n${address} ${archiveName}\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server?.close();
    await this.#relay.kill9();
  }
}
