import type { DoctorReport, LevelReading, Status } from '../../protocol/control.ts';
import type { NicsReport } from '../../protocol/nics.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { createFencing } from '../fencing/fencing.ts';
import { pinFile } from '../link/pins.ts';
import type { NetworkControl } from '../network/network.ts';
import { runDoctor } from '../observe/doctor/doctor.ts';
import { agentBounds, hostProbe } from '../observe/doctor/host-probe.ts';
import type { NetworkRoleReading, NodeReadings } from '../observe/doctor/probe.ts';
import { readCertificate } from '../platform/certificate-file.ts';
import { systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { exec } from '../platform/exec.ts';
import { silentLog } from '../platform/log.ts';
import { queueFiles } from '../platform/queue-files.ts';
import { realFiles } from '../platform/real-files.ts';
import { stagingPlaces } from '../replicate/staging.ts';
import { imapLogin } from '../services/imap-login.ts';
import { readCertificates } from '../services/certificates/certificates.ts';
import { readQueues } from '../services/queue/mail-queue.ts';
import { queuePlaces } from '../services/queue/queue-places.ts';
import { createServices, type Services } from '../services/services.ts';
import type { Appliance } from './appliance.ts';
import { gateUnits } from './gate-units.ts';
import { networkOf } from './network.ts';
import { withDurableRole } from './node-state.ts';
import { copiedInbox } from './served-copy.ts';
import { unitSandbox } from './unit-sandbox.ts';

/** Who does not answer a login by then serves nobody. */
const loginMs = 10_000;
/** A level is read no longer than this, so that the doctor comes to its end. */
const fenceSecondsMax = 50;

/** The configuration as an agent would start with it now. @throws OperatorError. */
export function doctorConfig(file: string): Config {
  return withPinnedAddresses(withDurableRole(loadConfig(file)));
}

/**
 * What the command `doctor` reads of a node by itself. A running agent's network is its own: its ports are told by the
 * agent (`nics`), and without one only what can be seen without switching a port on.
 */
export function readingsOfHost(config: Config, nics: NicsReport | null): NodeReadings {
  const services = createServices({
    config: config.services,
    exec,
    files: realFiles,
    clock: systemClock,
    log: silentLog,
    copied: copiedInbox(config, realFiles, exec),
    login: imapLogin(realFiles, false),
  });
  const network = networkOf(config, { log: silentLog, peerState: () => null });
  return {
    ...readingsOf(config, services),
    async fencing(levels) {
      const readings = await Promise.all(levels.map((level) => readLevel(config, level)));
      return readings.filter((reading) => reading !== null);
    },
    networkRoles: async () =>
      nics?.roles.map(({ name, proof }) => ({ role: name, port: proof.port, carrier: proof.carrier, proof })) ?? seen(network),
  };
}

/**
 * The doctor within the agent, for its status page: with the agent's own readings, and no look at whole trees.
 *
 * @param only the ids of the checks that are wanted; without it all.
 */
export async function doctorInAgent(
  file: string,
  appliance: Appliance,
  status: () => Status,
  only?: ReadonlySet<string>,
): Promise<DoctorReport> {
  const { network, services } = appliance;
  const probe = hostProbe(
    () => doctorConfig(file),
    (config) => ({
      ...readingsOf(config, services),
      // The agent reads them by itself, and its status has them.
      fencing: async () => [],
      async networkRoles() {
        const roles = await seen(network);
        // Nobody who looks at a page switches a port on, or makes the device of a VLAN.
        const isAsked = roles.every(({ carrier }) => carrier) && (config.network?.roles.every(({ vlan }) => vlan === 0) ?? true);
        // Nor does a takeover wait for the answers.
        if (!isAsked || status().appliance?.takeover.running) return roles;
        const proofs = await network.proveSegments();
        return roles.map((each) => ({ ...each, proof: proofs.find(({ role }) => role === each.role) ?? null }));
      },
    }),
    agentBounds,
  );
  const findings = [];
  for await (const finding of runDoctor(probe, status(), only)) findings.push(finding);
  return { at: new Date(systemClock.wallMs()).toISOString(), findings };
}

function readingsOf(
  config: Config,
  services: Services,
): Pick<NodeReadings, 'gate' | 'sandbox' | 'services' | 'unitFaults' | 'mailConfig' | 'login' | 'queue' | 'certificates' | 'historyDirs'> {
  return {
    gate: () => gateUnits(config, 'show', exec),
    sandbox: () => unitSandbox(config, 'show', exec),
    services: () => services.state(),
    unitFaults: () => services.judgeUnits(),
    mailConfig: () => services.checkConfig(),
    login: () => services.checkLogin(AbortSignal.timeout(loginMs)),
    async queue() {
      const found = await queuePlaces(config.services, exec);
      if (found.is === 'none') return found;
      return { is: 'counted', places: found.places, reading: await readQueues(found, queueFiles, systemClock.wallMs()) };
    },
    certificates: () => readCertificates({ services: config.services, exec, read: readCertificate }),
    historyDirs: () => config.roots.flatMap((root) => stagingPlaces(root, config.state, root.staging).map((dir) => `${dir}/history`)),
  };
}

/** Ports of the roles as they are, nobody asked. */
async function seen(network: NetworkControl): Promise<NetworkRoleReading[]> {
  const { roles, ports } = await network.refresh();
  return roles.map(({ name, port }) => ({
    role: name,
    port,
    carrier: ports.some(({ ifname, carrier }) => ifname === port && carrier),
    proof: null,
  }));
}

async function readLevel(config: Config, level: number): Promise<LevelReading | null> {
  const wanted = config.fencing[level - 1];
  if (!wanted) return null;
  const fencing = createFencing({
    levels: [{ ...wanted, timeoutSeconds: Math.min(wanted.timeoutSeconds, fenceSecondsMax) }],
    node: config.node,
    // Only a receipt is signed, and nothing is fenced here.
    keyPem: '',
    exec,
    files: realFiles,
    clock: systemClock,
    log: silentLog,
    newId: () => '',
  });
  for await (const reading of fencing.test(new AbortController().signal)) return { ...reading, level };
  return null;
}

/** The peer's addresses as the link uses them: those of the configuration, then where pairing found the peer. */
function withPinnedAddresses(config: Config): Config {
  try {
    const known = config.peer.addresses;
    const pinned = pinFile(config.state).read()?.addresses ?? [];
    const more = pinned.filter((a) => !known.some((b) => a.host === b.host && a.port === b.port));
    return { ...config, peer: { addresses: [...known, ...more] } };
  } catch (error) {
    if (error instanceof OperatorError) return config;
    throw error;
  }
}
