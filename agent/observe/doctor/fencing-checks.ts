import type { DoctorFinding, LevelReading } from '../../../protocol/control.ts';
import type { FenceLevelConfig, PowerLevelConfig } from '../../config/takeover-sections/fencing.ts';
import { fenceAgentPackages } from '../../platform/debian-package.ts';
import { isLoopback, parseIp, sameIp } from '../../platform/ip-address.ts';
import { fail, isGated, pass, warn, type Check, type Facts } from './finding.ts';

type Reading = Pick<LevelReading, 'level' | 'name' | 'state' | 'evidence' | 'at' | 'error'>;

/** Levels are read as they may be in earnest, up to this; a BMC over a slow line takes its time. */
const readMs = 50_000;
/** Options of fence agents that name where they connect. */
const addressOptions = ['ip', 'ipaddr', 'ipaddress'];

/** Whether this node could prove that the other one is off. */
export const fencingChecks: Check[] = [
  {
    id: 'fencing',
    run(facts) {
      const { fencing } = facts.config;
      const remedy = 'add a level that reads the power of the other node under `fencing:` (deploy/examples/fencing-and-services.yaml)';
      if (fencing.length === 0) {
        const what = 'nothing is configured that could prove the other node off: `mailtwin failover` will refuse';
        return [isGated(facts) ? fail('fencing', what, 'no level', remedy) : warn('fencing', what, 'no level', remedy)];
      }
      const names = fencing.map((level, i) => `level ${i + 1} ${level.name} (${level.type})`).join(', ');
      if (fencing.some(isPower)) return [];
      if (!fencing.some(({ type }) => type === 'manual'))
        return [fail('fencing', 'no level can prove that a dead node is off: it cannot step down any more', names, remedy)];
      return [warn('fencing', 'only a person can prove that a dead node is off, standing before it', names, remedy)];
    },
  },
  {
    id: 'fence-level',
    limitMs: readMs + 5000,
    async run({ config, node, status }) {
      const levels = config.fencing.map((level, i) => ({ level: i + 1, config: level })).filter(({ config: each }) => isPower(each));
      if (levels.length === 0) return [];
      // The agent's readings, where they are of these very levels: it drops what is too old.
      const known: Reading[] = (status?.appliance?.fencing ?? []).filter(({ level, name }) =>
        levels.some((each) => each.level === level && each.config.name === name),
      );
      const open = levels.map(({ level }) => level).filter((level) => !known.some((each) => each.level === level));
      const readings = [...known, ...(open.length > 0 ? await node.fencing(open) : [])];
      const readable = readings.filter(({ state, error }) => state !== 'unknown' && error === null);
      return levels.map(({ level, config: each }): DoctorFinding => {
        const name = `level ${level}, ${each.name}`;
        const reading = readings.find((one) => one.level === level);
        if (!reading) return pass('fence-level', `${name} was not read yet`);
        const evidence = `${reading.error?.detail ?? reading.evidence}, ${reading.at}`;
        if (reading.state === 'unknown' || reading.error !== null) {
          const what = `the power state cannot be read: ${name}`;
          return readable.length > 0
            ? warn('fence-level', what, evidence, remedyOf(reading, each))
            : fail('fence-level', what, evidence, remedyOf(reading, each));
        }
        // It may have come up since the level was read.
        if (reading.state === 'off' && status?.peer.connected)
          return warn(
            'fence-level',
            `${name} reads off, but the other node is connected`,
            evidence,
            `run \`mailtwin fence test\`: if it reads off again, it is the switch of another machine; correct \`fencing.${level - 1}\``,
          );
        return pass('fence-level', `${name} reads ${reading.state}`, evidence);
      });
    },
  },
  {
    id: 'fence-target',
    async run(facts) {
      const own = await bmcOfThisNode(facts);
      return facts.config.fencing.flatMap((level, i) =>
        devicesOf(level).flatMap((device) => (device.type === 'agent' ? misdirected(device, i, own, facts) : [])),
      );
    },
  },
];

/** The devices that a level works: its own, or each of those that must all be off. */
export function devicesOf(level: FenceLevelConfig): readonly PowerLevelConfig[] {
  if (level.type === 'all') return level.devices;
  return level.type === 'agent' || level.type === 'command' ? [level] : [];
}

function isPower(level: FenceLevelConfig): boolean {
  return devicesOf(level).length > 0;
}

function remedyOf({ error }: Reading, level: FenceLevelConfig): string {
  const test = 'then `mailtwin fence test`';
  const missing =
    error?.code === 'fence-agent-missing' ? devicesOf(level).find((each) => each.type === 'agent' && !each.agent.includes('/')) : null;
  if (missing?.type === 'agent') return `${fenceAgentPackages(missing.agent)}; or correct its name; ${test}`;
  if (error?.code === 'secret-file') return `write the secret as the finding \`secrets\` says; ${test}`;
  if (level.type === 'command') return `run \`${level.status.join(' ')}\` by hand: it ends with 0 = on, 2 = off; ${test}`;
  const at = level.type === 'agent' ? addressOf(level) : null;
  if (level.type === 'all') return `look at address, user and password file of each device of the level; ${test}`;
  return `look at address${at === null ? '' : ` (ping ${at})`}, user and password file of the level; ${test}`;
}

function addressOf(level: FenceLevelConfig & { type: 'agent' }): string | null {
  for (const option of addressOptions) {
    const value = level.options[option];
    if (value !== undefined) return value;
  }
  return null;
}

/** The address of the BMC in this very machine, as it tells over its local interface; null where that cannot be told. */
async function bmcOfThisNode({ probe, config }: Facts): Promise<string | null> {
  const uses = config.fencing.some((level) => devicesOf(level).some((device) => device.type === 'agent' && /ipmi/i.test(device.agent)));
  if (!uses || probe.stat('/dev/ipmi0') === null) return null;
  const shown = await probe.run('ipmitool', ['lan', 'print']);
  const address = shown?.exitCode === 0 ? /^IP Address\s*:\s*(\S+)/m.exec(shown.out)?.[1] : undefined;
  return address === undefined || address === '0.0.0.0' ? null : address;
}

/** A level that would switch off this node, or that dies with the node that it is to switch off. */
function misdirected(level: FenceLevelConfig & { type: 'agent' }, i: number, ownBmc: string | null, facts: Facts): DoctorFinding[] {
  const { probe, config, status } = facts;
  const text = addressOf(level);
  const address = text === null ? null : parseIp(text);
  // On loopback there is a tunnel to it.
  if (text === null || address === null || isLoopback(text)) return [];
  const isAmong = (all: readonly string[]) =>
    all.some((each) => {
      const ip = parseIp(each);
      return ip !== null && sameIp(ip, address);
    });
  const name = `level ${i + 1}, ${level.name}`;
  const remedy = `name the BMC of ${status?.peer.node ?? 'the other node'} in \`fencing.${i}.options\``;
  if (ownBmc !== null && isAmong([ownBmc]))
    return [
      fail('fence-target', `${name} is this node's own BMC: it would switch itself off`, `ipmitool lan print says ${ownBmc}`, remedy),
    ];
  const here = probe.addresses().find((each) => isAmong([each.address]));
  if (here) return [fail('fence-target', `${name} is an address of this node itself`, `${text} is on ${here.device} here`, remedy)];
  if (isAmong(config.network?.roles.flatMap(({ addresses }) => addresses.map((each) => each.address.text)) ?? []))
    return [fail('fence-target', `${name} is a service address of the pair, which moves`, text, remedy)];
  if (isAmong(config.peer.addresses.map(({ host }) => host)))
    return [
      warn('fence-target', `${name} is an address of the other node's system: when that is dead, nobody answers there`, text, remedy),
    ];
  return [];
}
