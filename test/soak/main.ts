import { parseArgs } from 'node:util';
import type { Soak } from './options.ts';

const usage = `Long runs that look for what the tests do not find. Exit code 1 when anything was wrong.

  npm run soak -- --sim [--histories 10000] [--seed 1] [--minutes M]   simulated histories of a pair
  npm run soak -- --fuzz [--times 1000000] [--seed 1] [--minutes M]    hostile inputs for each decoder of the agent
  npm run soak -- --replication [--times 1] [--seed 1]                 live Dovecot stores under load: each watcher, disk and layout (root)
  npm run soak -- --directory [--times 1]                              200,000 files in one directory
  npm run soak -- --torn [--times 100] [--seed 1]                      the link cut under load, each copy read by a real Dovecot
  npm run soak -- --kill [--times 100] [--seed 1]                      kill -9 of either agent under load
  npm run soak -- --failover [--times 50] [--seed 1]                   whole appliances lose their power or cables under load, fail over, come back (root)
  npm run soak -- --killed [--times 1] [--seed 1]                      an agent killed at every step of switchover and failover, whole appliances (root)
  npm run soak -- --world [--minutes 30] [--seed 1]                    disks of many kinds that come, go and fill, odd and hot files, kills, under a real Dovecot (root)
  npm run soak -- --systemd                                            the gate of the mail units in a booted Debian (root; debootstrap, systemd-container)
  npm run soak -- --managers                                           what networkd, netplan and NetworkManager remove from the active node, in a booted Debian (root)
  npm run soak -- --packages                                           the Debian package on two booted Debians: install, pair, upgrade, switch, reboot, fail over, purge (root)
  npm run soak -- --guest                                              VLANs, lights and cables of network cards in an emulated machine with Debian's kernel (root; ten minutes)
  npm run soak -- --npm                                                the npm tarball installed in clean Debian roots, with install scripts and without (root)
  npm run soak -- --runbook                                            every command of deploy/docs/RUNBOOK.md, as it is written, on three booted Debians (root)
                                                                       MAILTWIN_LAB_RELEASE=trixie: Debian 13; MAILTWIN_LAB_RELEASES=bookworm,trixie,trixie:
                                                                       mail-a, -b and -c of their own; MAILTWIN_ONLY=diskFull,unproven: these after the set-up
  npm run soak -- --arm64                                              the package for arm64 in an emulated Debian (root; the archive of Debian)
  npm run soak -- --pictures                                           records the terminal pictures of README.md anew (root)

Several may be given; they run one after the other. --minutes ends the simulation and the world early.
`;

/** Every soak under its option, in the order in which they run. */
const soaks: Record<string, { load: () => Promise<{ run: Soak }>; times: number }> = {
  sim: { load: () => import('./sim.ts'), times: 10_000 },
  fuzz: { load: () => import('./fuzz.ts'), times: 1_000_000 },
  replication: { load: () => import('./replication.ts'), times: 1 },
  directory: { load: () => import('./directory.ts'), times: 1 },
  torn: { load: () => import('./torn.ts'), times: 100 },
  kill: { load: () => import('./kill.ts'), times: 100 },
  world: { load: () => import('./world.ts'), times: 1 },
  systemd: { load: () => import('./systemd.ts'), times: 1 },
  managers: { load: () => import('./network-managers.ts'), times: 1 },
  packages: { load: () => import('./packages.ts'), times: 1 },
  failover: { load: () => import('./failover.ts'), times: 50 },
  killed: { load: () => import('./killed.ts'), times: 1 },
  npm: { load: () => import('./npm-package.ts'), times: 1 },
  runbook: { load: () => import('./runbook.ts'), times: 1 },
  arm64: { load: () => import('./arm64.ts'), times: 1 },
  pictures: { load: () => import('./pictures.ts'), times: 1 },
  guest: { load: () => import('./guest.ts'), times: 1 },
};

// What was started is ended when this process exits, which a signal alone does not bring about.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = parse();
  const wanted = Object.entries(soaks).filter(([name]) => (values as Record<string, unknown>)[name] === true);
  if (wanted.length === 0 || values.help) {
    process.stdout.write(usage);
    return values.help ? 0 : 2;
  }
  let well = true;
  for (const [name, { load, times }] of wanted) {
    const wantedTimes = name === 'sim' ? values.histories : values.times;
    const options = { times: number(wantedTimes, times), seed: number(values.seed, 1), minutesMax: number(values.minutes, Infinity) };
    const { run } = await load();
    well = (await run(options)) && well;
  }
  return well ? 0 : 1;
}

function parse() {
  try {
    return parseArgs({
      options: {
        ...Object.fromEntries(Object.keys(soaks).map((name) => [name, { type: 'boolean' as const }])),
        help: { type: 'boolean', default: false },
        histories: { type: 'string' },
        times: { type: 'string' },
        seed: { type: 'string' },
        minutes: { type: 'string' },
      },
    });
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    process.exit(2);
  }
}

function number(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0) return value;
  process.stderr.write(`not a number: ${text}\n\n${usage}`);
  process.exit(2);
}
