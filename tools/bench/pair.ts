import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { AgentProcess, runCommand } from '../cli/demo/agent-process.ts';
import { showCount } from '../cli/format.ts';
import type { Bench } from './measurement.ts';
import { ownFileSystem } from './own-file-system.ts';
import { childWithArgument } from './process-usage.ts';
import { makeBenchStore, requireSpace, smallFileBytes, smallSizes } from './store.ts';

/** Asking for the status is work for the agent too. */
const pollMs = 100;
const waitTimeoutSeconds = 120;
const manyFilesSecondsMax = 3600;

/** One node of a pair under measurement. */
export interface Node {
  agent: AgentProcess;
  configFile: string;
}

/** Two real agents on loopback, each a process of the same command line that this is. */
export class Pair {
  readonly roots: { primary: string; standby: string };
  readonly primary: Node;
  readonly standby: Node;
  readonly #dir: string;

  /** @param root The primary's store; the standby's is made in `dir`, empty. */
  constructor(dir: string, root: string) {
    this.#dir = dir;
    this.roots = { primary: root, standby: join(dir, 'standby/mail') };
    this.primary = this.#node('primary');
    this.standby = this.#node('standby');
    mkdirSync(this.roots.standby, { recursive: true });
    mkdirSync(join(dir, 'primary'));
  }

  #node(name: 'primary' | 'standby'): Node {
    const configFile = join(this.#dir, name, 'mailtwin.yaml');
    const agent = new AgentProcess({ name, configFile, stateDir: join(this.#dir, name, 'state'), logFile: join(this.#dir, `${name}.log`) });
    return { agent, configFile };
  }

  /** Configures and pairs both nodes; the primary runs, the standby does not yet. */
  async prepare(signal: AbortSignal): Promise<void> {
    const port = await freePort();
    await this.#init('primary', this.primary, port);
    await this.#init('standby', this.standby, 0);
    await this.primary.agent.start(signal);
    const { code } = await this.primary.agent.client.ask('POST /pair', {});
    await runCommand(['pair', `127.0.0.1:${port}`, code, '--yes', '--config', this.standby.configFile]);
  }

  async #init(role: 'primary' | 'standby', { configFile }: Node, port: number): Promise<void> {
    const node = ['--role', role, '--node', `bench-${role}`, '--root', `mail=${this.roots[role]}:maildir`, '--listen', `127.0.0.1:${port}`];
    await runCommand(['init', ...node, '--config', configFile, '--state', join(this.#dir, role, 'state'), '--metrics', 'off']);
  }

  /**
   * Starts the standby and waits until it has everything.
   *
   * @returns Seconds from the start of its process until all was durable.
   */
  async fill(signal: AbortSignal, timeoutSeconds: number): Promise<number> {
    const start = performance.now();
    await this.standby.agent.start(signal);
    for (;;) {
      signal.throwIfAborted();
      this.standby.agent.check();
      const { phase, lagChanges, held } = (await this.primary.agent.status()).replication;
      if (phase === 'streaming' && lagChanges === 0) break;
      if (held) throw new Error(`the fill is held: ${held.code}: ${held.detail}`);
      if (performance.now() - start > timeoutSeconds * 1000)
        throw new Error(`the fill did not end within ${timeoutSeconds} s; phase ${phase}`);
      await delay(pollMs, undefined, { signal });
    }
    await this.waitDurable(signal);
    return (performance.now() - start) / 1000;
  }

  /** Resolves when all that changed before the call is durable on the standby. */
  async waitDurable(signal: AbortSignal): Promise<void> {
    for await (const line of this.primary.agent.client.stream('POST /wait', { timeoutSeconds: waitTimeoutSeconds }, signal)) {
      if (line.kind === 'error') throw new Error(line.message);
      if (line.kind === 'done' && line.exitCode !== 0) throw new Error(line.summary);
    }
  }

  /** Process ids of both agents. */
  pids(): { primary: number; standby: number } {
    return { primary: childWithArgument(this.primary.configFile), standby: childWithArgument(this.standby.configFile) };
  }

  /** What both agents said last, for an error. */
  logTails(): string {
    return [this.primary, this.standby].map(({ agent, configFile }) => `--- ${configFile}\n${agent.logTail(10)}`).join('\n');
  }

  async stop(): Promise<void> {
    await Promise.all([this.standby.agent.stop(), this.primary.agent.stop()]);
  }

  killNow(): void {
    this.primary.agent.killNow();
    this.standby.agent.killNow();
  }
}

/** Runs `work` with a prepared pair, and ends both agents however it goes. */
export async function withPair<T>(dir: string, root: string, signal: AbortSignal, work: (pair: Pair) => Promise<T>): Promise<T> {
  const release = ownFileSystem(join(dir, 'standby'));
  const pair = new Pair(dir, root);
  const atExit = (): void => pair.killNow();
  process.on('exit', atExit);
  try {
    await pair.prepare(signal);
    return await work(pair);
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${pair.logTails()}`, { cause: error });
  } finally {
    await pair.stop();
    process.off('exit', atExit);
    release();
  }
}

/** Fills a standby with `files` small messages, then works with the pair. `work` is told how many seconds the fill took. */
export async function withManyFiles<T>(bench: Bench, work: (pair: Pair, fillSeconds: number) => Promise<T>): Promise<T> {
  const { files } = bench.options;
  requireSpace(bench, files * smallFileBytes * 2.2);
  const source = join(bench.dir, 'source');
  bench.say(`making ${showCount(files)} small messages`);
  await makeBenchStore(bench, source, files, smallSizes);
  return withPair(join(bench.dir, 'pair'), source, bench.signal, async (pair) => {
    bench.say('filling the standby');
    return work(pair, await pair.fill(bench.signal, manyFilesSecondsMax));
  });
}

/** A port of loopback that nobody has at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port of loopback is free');
  return address.port;
}
