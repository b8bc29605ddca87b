import { createSocket } from 'node:dgram';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  watch,
  writeFileSync,
  type FSWatcher,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ownerMark } from './ownership.ts';
import { LabProcess, run, type RunResult } from './processes.ts';
import { waitFor } from './waiting.ts';

export interface BmcOptions {
  /** Where it listens (UDP, RMCP+). Default 127.0.0.1. */
  address?: string;
  /** Default: one that is free. */
  port?: number;
  /** Network namespace it runs in; default: the test's own. */
  namespace?: string;
  username?: string;
  password?: string;
  /** Name of the host that it switches. */
  node?: string;
  /** What losing power does to the host. The power reads as off only when this has resolved; when it rejects, it stays on. */
  onPowerOff?: () => Promise<void> | void;
  onPowerOn?: () => Promise<void> | void;
}

const startMs = 60_000;
const open = new Set<Bmc>();
process.on('exit', () => {
  for (const bmc of open) bmc.killNow();
});

/**
 * A BMC that speaks IPMI 2.0, as `fence_ipmilan` and `ipmitool` know it (OpenIPMI's ipmi_sim), whose power switch does
 * for real what the test says.
 */
export class Bmc implements AsyncDisposable {
  readonly address: string;
  readonly username: string;
  readonly password: string;
  readonly #options: BmcOptions;
  readonly #dir: string;
  #port: number;
  #process: LabProcess | null = null;
  #watcher: FSWatcher | null = null;
  #timer: NodeJS.Timeout | null = null;
  #serving: Promise<void> | null = null;
  /** What the power switch failed with, for the test to look at. */
  readonly failures: unknown[] = [];

  private constructor(options: BmcOptions) {
    this.#options = options;
    this.address = options.address ?? '127.0.0.1';
    this.username = options.username ?? 'admin';
    this.password = options.password ?? 'bmc-secret-1';
    this.#port = options.port ?? 0;
    this.#dir = mkdtempSync(join(tmpdir(), `${ownerMark()}-bmc-`));
  }

  /** Starts it and waits until it answers; the power is on. */
  static async start(options: BmcOptions = {}): Promise<Bmc> {
    const bmc = new Bmc(options);
    open.add(bmc);
    try {
      if (bmc.#port === 0) bmc.#port = options.namespace === undefined ? await freeUdpPort(bmc.address) : 623;
      bmc.#writeFiles();
      await bmc.#run();
      return bmc;
    } catch (error) {
      await bmc.stop();
      throw error;
    }
  }

  get port(): number {
    return this.#port;
  }

  get isOn(): boolean {
    return readFileSync(join(this.#dir, 'power'), 'utf8').trim() === '1';
  }

  /** Turns the switch by hand, without telling the host: for a node that was off or on from the start. */
  setPower(on: boolean): void {
    replace(join(this.#dir, 'power'), on ? '1\n' : '0\n');
  }

  /** What `fence_ipmilan` needs to reach it, without the password. `cipher` spares 14 s of asking for a list that it has not. */
  get fenceOptions(): Record<string, string> {
    return { ip: this.address, ipport: String(this.port), username: this.username, lanplus: '1', cipher: '3' };
  }

  /** `ipmitool chassis power WHAT` against it, from the namespace that is given or its own. */
  ipmitool(what: 'status' | 'on' | 'off', namespace = this.#options.namespace): Promise<RunResult> {
    const login = ['-I', 'lanplus', '-C', '3', '-H', this.address, '-p', String(this.port), '-U', this.username, '-P', this.password];
    return run('ipmitool', [...login, 'chassis', 'power', what], { namespace, mayFail: true });
  }

  /** It answers no more, as when its cable is out; `resume` plugs it in again. */
  pause(): void {
    this.#process?.signal('SIGSTOP');
  }

  resume(): void {
    this.#process?.signal('SIGCONT');
  }

  /** Ends it and removes its files. May be called twice. */
  async stop(): Promise<void> {
    open.delete(this);
    this.#watcher?.close();
    if (this.#timer) clearInterval(this.#timer);
    await this.#process?.kill9();
    await this.#serving;
    rmSync(this.#dir, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** kill -9 without waiting. */
  killNow(): void {
    this.#process?.killNow();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #writeFiles(): void {
    const dir = this.#dir;
    const auths = ['callback', 'user', 'operator', 'admin'].map((level) => `  allowed_auths_${level} none md2 md5 straight`);
    writeFileSync(
      join(dir, 'lan.conf'),
      [
        `name "${this.#options.node ?? 'node'}"`,
        'set_working_mc 0x20',
        'startlan 1',
        `  addr ${this.address} ${this.port}`,
        '  priv_limit admin',
        ...auths,
        '  guid a123456789abcdefa123456789abcdef',
        'endlan',
        `chassis_control "${join(dir, 'chassis')} 0x20"`,
        'user 1 true "" "none" user 10 none md2 md5 straight',
        `user 2 true "${this.username}" "${this.password}" admin 10 none md2 md5 straight`,
        '',
      ].join('\n'),
      { mode: 0o600 },
    );
    writeFileSync(
      join(dir, 'cmd.emu'),
      'mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n',
    );
    mkdirSync(join(dir, 'state'));
    this.setPower(true);
    // Called as `0x20 get power` and `0x20 set power 0|1`. The switch is the test's; the script waits until it has acted.
    writeFileSync(
      join(dir, 'chassis'),
      `#!/bin/sh
cd ${dir} || exit 1
case "$2 $3" in
"get power") echo "power:$(cat power)" ;;
"set power")
  echo "$4" > wanted.new && mv wanted.new wanted
  i=0
  while [ -e wanted ] && [ $i -lt 1000 ]; do sleep 0.02; i=$((i + 1)); done ;;
esac
`,
    );
    chmodSync(join(dir, 'chassis'), 0o755);
  }

  async #run(): Promise<void> {
    const dir = this.#dir;
    // inotify may be short on a busy machine; the timer sees what it does not tell.
    this.#watcher = watch(dir, () => this.#serve());
    this.#timer = setInterval(() => this.#serve(), 100);
    this.#timer.unref();
    const args = ['-c', join(dir, 'lan.conf'), '-f', join(dir, 'cmd.emu'), '-s', join(dir, 'state'), '-n'];
    const { namespace } = this.#options;
    this.#process = new LabProcess('ipmi_sim', args, { namespace });
    await waitFor('the BMC to answer', startMs, async () => {
      if (this.#process?.isRunning !== true) throw new Error(`ipmi_sim ended: ${this.#process?.output}`);
      return (await this.ipmitool('status')).code === 0;
    });
  }

  /** Does what the switch was set to, once. */
  #serve(): void {
    const wanted = join(this.#dir, 'wanted');
    if (this.#serving || !existsSync(wanted)) return;
    const on = readFileSync(wanted, 'utf8').trim() === '1';
    const act = async () => {
      if (on !== this.isOn) await (on ? this.#options.onPowerOn : this.#options.onPowerOff)?.();
      this.setPower(on);
    };
    this.#serving = act()
      .catch((error: unknown) => void this.failures.push(error))
      .finally(() => {
        rmSync(wanted, { force: true });
        this.#serving = null;
      });
  }
}

function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

/** A UDP port of this address that nobody uses now. */
export async function freeUdpPort(address: string): Promise<number> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(0, address, resolve);
  });
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(resolve));
  return port;
}
