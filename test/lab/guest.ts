import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ControlApi } from '../../protocol/control.ts';
import type { GuestImage } from './guest-image.ts';
import { LabProcess, type RunResult } from './processes.ts';
import { waitFor } from './waiting.ts';

/** A network card of the guest; cards with the same cable see each other's frames, tags included. */
export interface GuestCard {
  /** Its name for `setLink`. */
  name: string;
  model: 'e1000' | 'e1000e';
  mac: string;
  cable: number;
}

const bootMs = 300_000;
const monitorMs = 20_000;
const askMs = 120_000;

/**
 * A machine of its own with the kernel of Debian, under the software emulation of qemu. It has no network but the cables
 * between its own cards. Commands run in it through a serial port; a monitor pulls cables.
 */
export class Guest {
  readonly #qemu: LabProcess;
  readonly #commands: Lines;
  readonly #monitor: Lines;
  readonly #waiting = new Map<number, (result: RunResult) => void>();
  #count = 0;

  private constructor(qemu: LabProcess, commands: Lines, monitor: Lines) {
    this.#qemu = qemu;
    this.#commands = commands;
    this.#monitor = monitor;
  }

  /** @param dir where its sockets and logs are; the path must be short. */
  static async boot(options: { image: GuestImage; dir: string; cards: readonly GuestCard[]; memoryMiB: number }): Promise<Guest> {
    const { image, dir, cards, memoryMiB } = options;
    const socket = (name: string) => join(dir, `${name}.sock`);
    const cables = cards.flatMap(({ name, model, mac, cable }) => [
      ...['-netdev', `hubport,id=cable-${name},hubid=${cable}`],
      ...['-device', `${model},netdev=cable-${name},id=${name},mac=${mac}`],
    ]);
    const qemu = new LabProcess('qemu-system-x86_64', [
      ...[
        '-nodefaults',
        '-no-user-config',
        '-no-reboot',
        '-display',
        'none',
        '-machine',
        'pc',
        '-accel',
        'tcg',
        '-cpu',
        'max',
        '-smp',
        '2',
      ],
      ...['-m', String(memoryMiB), '-kernel', image.kernel, '-initrd', image.initrd],
      ...['-append', 'console=ttyS0 rdinit=/guest/init panic=-1 loglevel=5 net.ifnames=0'],
      ...[
        '-serial',
        'stdio',
        '-serial',
        `unix:${socket('commands')},server=on,wait=off`,
        '-qmp',
        `unix:${socket('monitor')},server=on,wait=off`,
      ],
      ...['-D', join(dir, 'trace.log'), ...cables],
    ]);
    try {
      const commands = await Lines.open(socket('commands'), qemu);
      const monitor = await Lines.open(socket('monitor'), qemu);
      const guest = new Guest(qemu, commands, monitor);
      let isReady = false;
      commands.onLine((line) => {
        const { id, ...result } = JSON.parse(line) as RunResult & { id: number };
        if (id === 0) isReady = true;
        guest.#waiting.get(id)?.(result);
        guest.#waiting.delete(id);
      });
      await guest.monitor('qmp_capabilities');
      await waitFor('the guest to boot', bootMs, () => isReady || !qemu.isRunning);
      if (!qemu.isRunning) throw new Error('qemu ended');
      return guest;
    } catch (error) {
      await qemu.kill9();
      throw new Error(`${error instanceof Error ? error.message : String(error)}; its console:\n${qemu.output.slice(-4000)}`, {
        cause: error,
      });
    }
  }

  /** What the kernel and the first process printed. */
  get console(): string {
    return this.#qemu.output;
  }

  /** Runs a program in it to its end. @throws with its output when it fails, unless `mayFail`. */
  async run(argv: readonly string[], options: { mayFail?: boolean; timeoutMs?: number } = {}): Promise<RunResult> {
    const { mayFail = false, timeoutMs = 120_000 } = options;
    const what = argv.join(' ').slice(0, 300);
    // The guest ends the program by itself when its time is over.
    const result = await this.#send(what, { argv, timeoutMs }, timeoutMs + 30_000);
    if (result.code !== 0 && !mayFail)
      throw new Error(`${what} in the guest ended with ${result.code}: ${(result.stderr + result.stdout).slice(-4000)}`);
    return result;
  }

  /** Asks an agent in it over its control socket. @throws with what it says when it refuses or does not run. */
  async ask<K extends 'GET /status' | 'GET /nics'>(stateDir: string, what: K): Promise<ControlApi[K]['answer']> {
    const result = await this.#send(what, { state: stateDir, ask: what }, askMs);
    if (result.code !== 0) throw new Error(`${what} of ${stateDir} in the guest: ${result.stderr}`);
    return JSON.parse(result.stdout) as ControlApi[K]['answer'];
  }

  #send(what: string, command: object, timeoutMs: number): Promise<RunResult> {
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the guest does not answer to ${what}`)), timeoutMs);
      this.#waiting.set(id, (came) => {
        clearTimeout(timer);
        resolve(came);
      });
      this.#commands.send(JSON.stringify({ id, ...command }));
    });
  }

  /** Pulls the cable out of a card, or plugs it in. */
  async setLink(card: string, up: boolean): Promise<void> {
    await this.monitor('set_link', { name: card, up });
  }

  /** Switches a trace of the emulated hardware on or off; it is written to `trace.log`. */
  async trace(event: string, enable: boolean): Promise<void> {
    await this.monitor('trace-event-set-state', { name: event, enable });
  }

  /** One command of the QEMU Machine Protocol. @throws what qemu says when it refuses. */
  async monitor(execute: string, args: Record<string, unknown> = {}): Promise<void> {
    const id = `m${++this.#count}`;
    const answer = new Promise<{ error?: { desc: string } }>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the monitor of qemu does not answer to ${execute}`)), monitorMs);
      const end = this.#monitor.onLine((line) => {
        const came = JSON.parse(line) as { id?: string; error?: { desc: string } };
        if (came.id !== id) return;
        clearTimeout(timer);
        end();
        resolve(came);
      });
    });
    this.#monitor.send(JSON.stringify({ execute, arguments: args, id }));
    const { error } = await answer;
    if (error) throw new Error(`${execute}: ${error.desc}`);
  }

  /** Its end, at once. */
  async end(): Promise<void> {
    this.#commands.close();
    this.#monitor.close();
    await this.#qemu.kill9();
  }
}

/** A socket with one message a line. */
class Lines {
  readonly #socket: Socket;
  readonly #heed = new Set<(line: string) => void>();

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => {});
    createInterface({ input: socket }).on('line', (line) => {
      for (const each of this.#heed) each(line);
    });
  }

  static async open(path: string, qemu: LabProcess): Promise<Lines> {
    const attempt = () =>
      new Promise<Socket | null>((resolve) => {
        const each = connect(path);
        each.once('connect', () => resolve(each));
        each.once('error', () => resolve(null));
      });
    const socket = await waitFor(`the socket ${path}`, monitorMs, async () => (await attempt()) ?? (qemu.isRunning ? null : 'ended'));
    if (socket === 'ended') throw new Error('qemu ended');
    return new Lines(socket);
  }

  /** Gives every line from now on to `heed`; call what it returns to end that. */
  onLine(heed: (line: string) => void): () => void {
    this.#heed.add(heed);
    return () => this.#heed.delete(heed);
  }

  send(line: string): void {
    this.#socket.write(`${line}\n`);
  }

  close(): void {
    this.#socket.destroy();
  }
}
