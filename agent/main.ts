import { existsSync } from 'node:fs';
import type { ConfigKey } from '../protocol/config-key.ts';
import type {
  DoctorFinding,
  GatedUnit,
  InitOptions,
  InitResult,
  JoinOptions,
  JoinResult,
  RepairOptions,
  RepairResult,
  Status,
  UnitSandbox,
} from '../protocol/control.ts';
import type { NicsReport } from '../protocol/nics.ts';
import type { Config } from './config/config.ts';
import { loadConfig } from './config/load.ts';
import { parseHostPort } from './config/values.ts';
import { pinFile } from './link/pins.ts';
import { systemClock } from './platform/clock.ts';
import { OperatorError } from './platform/errors.ts';
import { unitConfigFile } from './platform/own-unit.ts';
import { withDurableRole } from './wiring/node-state.ts';
import type { RunOptions } from './wiring/agent.ts';

/**
 * What the command line can have this node do without asking a running agent. What most commands do not need is loaded
 * by the one that does: `mailtwin status` wants a path, not a database.
 */

/** For the last lines to be written, in milliseconds. */
const lingerMs = 300;

/** The agent in the foreground until a signal or a request to stop; the exit code. */
export async function runAgent(configFile: string, options: RunOptions = { foreign: 'refuse' }): Promise<number> {
  const config = loadConfig(configFile);
  if (!existsSync(config.state))
    throw new OperatorError(
      'no-state',
      `the state directory ${config.state} is not there`,
      'run `mailtwin init`, or correct `state` in the configuration',
      2,
    );
  const { checkStateDir } = await import('./wiring/read-only-here.ts');
  checkStateDir(config.state);
  const [{ exitNow }, { Agent }, { createLog }, { boundMemory }] = await Promise.all([
    import('./platform/native.ts'),
    import('./wiring/agent.ts'),
    import('./observe/log.ts'),
    import('./platform/process-memory.ts'),
  ]);
  boundMemory();
  const agent = new Agent(createLog(config.log.level));
  const stop = () => agent.stop();
  const failed = agent.fatal('the agent');
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('uncaughtException', failed);
  try {
    // A stop does not wait for a start that hangs.
    await Promise.race([agent.start(config, options), agent.ended]);
    return await agent.ended;
  } finally {
    process.off('SIGTERM', stop);
    process.off('SIGINT', stop);
    process.off('uncaughtException', failed);
    // Everything has ended or had its time: a program that hangs or a call to a dead disk holds nothing up any more (I23).
    setTimeout(() => exitNow(Number(process.exitCode ?? 0)), lingerMs).unref();
  }
}

export async function initNode(options: InitOptions): Promise<InitResult> {
  const [init, { makeIdentity }] = await Promise.all([import('./config/init.ts'), import('./link/identity.ts')]);
  const { config, fingerprint } = init.initNode(options, makeIdentity);
  return { file: config.file, state: config.state, fingerprint, sandbox: await sandboxOf(config) };
}

/** Opens the unit's sandbox for a new configuration, where the unit is this one's; what cannot be written is told as it stands. */
async function sandboxOf(config: Config): Promise<UnitSandbox | null> {
  const [{ unitSandbox: make }, { exec }] = await Promise.all([import('./wiring/unit-sandbox.ts'), import('./platform/exec.ts')]);
  if (config.file !== unitConfigFile || !existsSync('/run/systemd/system')) return null;
  try {
    return await make(config, 'install', exec);
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return make(config, 'show', exec);
  }
}

export async function joinPair(options: JoinOptions): Promise<JoinResult> {
  const config = withDurableRole(loadConfig(options.configFile));
  const address = parseHostPort(options.address, 1);
  if (address === null)
    throw new OperatorError(
      'usage',
      `${JSON.stringify(options.address)} is not HOST:PORT`,
      'write the address of the primary, for example 192.0.2.1:7420',
      2,
    );
  const [pairing, { loadIdentity }] = await Promise.all([import('./link/pairing-client.ts'), import('./link/identity.ts')]);
  const identity = loadIdentity(config.state);
  const peer = await pairing.joinPair({
    config,
    identity,
    pins: pinFile(config.state),
    clock: systemClock,
    ...address,
    code: options.code,
    confirm: (shown) => options.confirm({ own: shown.mine, peer: shown.theirs, peerNode: shown.peer }),
    replace: options.replace ?? false,
  });
  return { pair: peer.pair, peerNode: peer.node, ownFingerprint: identity.fingerprint, peerFingerprint: peer.fingerprint };
}

export async function repairStore(options: RepairOptions): Promise<RepairResult> {
  const repair = await import('./wiring/repair-store.ts');
  const { role, epoch, aside } = await repair.repairStore(loadConfig(options.configFile), options);
  return { role, epoch, aside };
}

export async function configKeys(): Promise<ConfigKey[]> {
  return (await import('./config/keys.ts')).configKeys();
}

export async function stateDirOf(configFile: string): Promise<string> {
  return loadConfig(configFile).state;
}

export async function* doctor(
  configFile: string,
  status: Status | null,
  nics: NicsReport | null = null,
): AsyncGenerator<DoctorFinding, void> {
  const [{ runDoctor }, { hostProbe }, { doctorConfig, readingsOfHost }] = await Promise.all([
    import('./observe/doctor/doctor.ts'),
    import('./observe/doctor/host-probe.ts'),
    import('./wiring/doctor.ts'),
  ]);
  yield* runDoctor(
    hostProbe(
      () => doctorConfig(configFile),
      (config) => readingsOfHost(config, nics),
    ),
    status,
  );
}

export async function gateUnits(configFile: string, action: 'show' | 'install' | 'remove'): Promise<GatedUnit[]> {
  const [units, { exec }] = await Promise.all([import('./wiring/gate-units.ts'), import('./platform/exec.ts')]);
  return units.gateUnits(loadConfig(configFile), action, exec);
}

export async function unitSandbox(configFile: string, action: 'show' | 'install'): Promise<UnitSandbox> {
  const [sandbox, { exec }] = await Promise.all([import('./wiring/unit-sandbox.ts'), import('./platform/exec.ts')]);
  return sandbox.unitSandbox(loadConfig(configFile), action, exec);
}

export async function supportFiles(configFile: string): Promise<{ name: string; text: string }[]> {
  const [support, { exec }] = await Promise.all([import('./wiring/support-files.ts'), import('./platform/exec.ts')]);
  return support.supportFiles(loadConfig(configFile), exec);
}
