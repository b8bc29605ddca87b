import type { DoctorFinding } from '../../../protocol/control.ts';
import { fail, pass, quoted, serves, warn, type Check, type Facts } from './finding.ts';
import { hasSystemd, isUp, readUnits, type UnitFacts } from './systemd-units.ts';

/** What the package brings; its own file has the condition. */
const ownTarget = 'mailtwin-active.target';
const dropInName = '10-mailtwin.conf';
/** What writes into a mail store, and can be started beside the units that the configuration names. */
const writers = ['dovecot.service', 'dovecot.socket', 'cyrus-imapd.service', 'courier-imap.service'];
const configCheckMs = 32_000;

/** The mail services: that they can start, that they run here when they should, and not when they should not. */
export const serviceChecks: Check[] = [
  {
    id: 'unit',
    async run(facts) {
      const { config, probe, node } = facts;
      const units = config.services?.units ?? [];
      if (units.length === 0) return [];
      const read = await readUnits(probe, units);
      if (!read)
        return [
          fail(
            'unit',
            'systemd does not answer, so the mail services cannot be started',
            `services.units names ${units.join(', ')}`,
            'on a host without systemd use `services.commands`; with it, look at: systemctl status',
          ),
        ];
      const troubles = read.flatMap((unit) => judgeUnit(unit));
      if (troubles.some(({ level }) => level === 'fail')) return troubles;
      // What systemd would find only as it starts them, on the morning of a takeover.
      const faults = await node.unitFaults();
      if (faults === null) return [...troubles, pass('unit', `the units are there: ${units.join(', ')}`)];
      troubles.push(...faults.map(({ what, evidence, remedy }) => fail('unit', what, evidence, remedy)));
      return troubles.length > 0
        ? troubles
        : [pass('unit', `the units are there, and nothing was found that keeps them from starting: ${units.join(', ')}`)];
    },
  },
  {
    id: 'gate',
    async run({ config, probe, node }) {
      const units = (config.services?.units ?? []).filter((unit) => unit !== ownTarget);
      if (units.length === 0) return [];
      const read = await readUnits(probe, units);
      const states = await node.gate();
      const has = (unit: string) => read?.find(({ name }) => name === unit)?.dropIns.includes(`/${dropInName}`) ?? false;
      const open = states.filter(({ unit, state }) => state === 'open' && !has(unit));
      const other = states.filter(({ state }) => state === 'other');
      if (open.length > 0)
        return open.map(({ unit, file }) => {
          const facts = read?.find(({ name }) => name === unit);
          return fail(
            'gate',
            `${unit} starts on both nodes: it has no gate${facts?.file === 'enabled' ? ', and is enabled' : ''}`,
            `${file} is missing`,
            'mailtwin gate install',
          );
        });
      if (other.length > 0)
        return other.map(({ unit, file }) =>
          warn('gate', `the gate of ${unit} is not this configuration's`, `${file} differs`, 'mailtwin gate install'),
        );
      return [pass('gate', 'the mail units start on the active node alone')];
    },
  },
  {
    id: 'second-server',
    async run({ config, probe }) {
      const units = config.services?.units ?? [];
      if (units.length === 0 || !hasSystemd(probe)) return [];
      const others = writers.filter((unit) => !units.includes(unit));
      const read = (await readUnits(probe, others)) ?? [];
      return read
        .filter((unit) => unit.load === 'loaded' && !unit.dropIns.includes(`/${dropInName}`) && (isUp(unit) || unit.file === 'enabled'))
        .map((unit) =>
          warn(
            'second-server',
            `${unit.name} can write into the mail store, and no node's agent starts or stops it`,
            `it is ${unit.active}, ${unit.file || 'not enabled'}, and not in services.units`,
            `add it to \`services.units\` and run \`mailtwin gate install\`, or: systemctl disable --now ${unit.name}`,
          ),
        );
    },
  },
  { id: 'services', run: judgeServices },
  {
    id: 'mail-config',
    limitMs: configCheckMs,
    async run({ config, node }) {
      const { services } = config;
      if (!services) return [];
      if (!services.configCheck)
        return [
          warn(
            'mail-config',
            "nothing checks the mail server's configuration before a takeover",
            '`services.configCheck` is not set',
            'for Dovecot add `configCheck: [doveconf, -n]` to `services:`, and start the agent again',
          ),
        ];
      const { ok, evidence } = await node.mailConfig();
      if (ok) return [pass('mail-config', "the mail server's configuration is valid", evidence)];
      return [
        fail(
          'mail-config',
          "the mail server's configuration is not valid",
          evidence,
          `mend it until this ends with 0: ${services.configCheck.map(quoted).join(' ')}`,
        ),
      ];
    },
  },
  {
    id: 'login',
    async run(facts) {
      const { services } = facts.config;
      if (!services) return [];
      if (!services.imap)
        return [
          warn(
            'login',
            'no login proves that mail is served',
            '`services.imap` is not set',
            'make a mailbox for it and add `imap: { user, passwordFile }` to `services:`',
          ),
        ];
      // Nobody can log in where the services stand still.
      if (serves(facts) !== true) return [];
      const { ok, evidence } = await facts.node.login();
      if (ok) return [pass('login', 'a login by IMAP works', evidence)];
      const { host, port, user, passwordFile } = services.imap;
      return [
        fail(
          'login',
          'the login by IMAP fails, so a takeover would end with a complaint',
          evidence,
          `look whether the mail server answers at ${host}:${port}, and whether the password of ${user} is the one in ${passwordFile}: doveadm auth test ${quoted(user)}`,
        ),
      ];
    },
  },
];

function judgeUnit({ name, load, needsReload }: UnitFacts): DoctorFinding[] {
  if (load === 'not-found')
    return [
      fail(
        'unit',
        `there is no unit ${name} on this node`,
        'LoadState=not-found',
        name === ownTarget
          ? `install the package of mailtwin, or copy deploy/systemd/${ownTarget} to /etc/systemd/system and run: systemctl daemon-reload`
          : `install what brings it, or correct \`services.units\`: systemctl list-unit-files '${name.replace(/[@.-].*$/, '')}*'`,
      ),
    ];
  if (load === 'masked')
    return [fail('unit', `${name} is masked, so it cannot be started`, 'LoadState=masked', `systemctl unmask ${name}`)];
  if (load !== 'loaded') return [fail('unit', `${name} cannot be loaded`, `LoadState=${load}`, `look at: systemctl status ${name}`)];
  if (needsReload) return [warn('unit', `systemd knows an older file of ${name}`, 'NeedDaemonReload=yes', 'systemctl daemon-reload')];
  return [];
}

/** Whether they run where they should, read here and now. */
async function judgeServices(facts: Facts): Promise<DoctorFinding[]> {
  const { services } = facts.config;
  const isServing = serves(facts);
  if (!services || isServing === null) return [];
  const { state, units } = await facts.node.services();
  const show = units.map(({ name, detail }) => `${name} is ${detail}`).join(', ');
  const by = (verb: 'start' | 'stop', which: typeof units) =>
    services.commands ? services.commands[verb].map(quoted).join(' ') : `systemctl ${verb} ${which.map(({ name }) => name).join(' ')}`;
  if (state === 'unknown')
    return [
      warn(
        'services',
        'whether the mail services run cannot be read',
        show,
        'look at `services:` in the configuration, and at its programs',
      ),
    ];
  const up = units.filter((unit) => unit.state !== 'stopped');
  if (!isServing && up.length > 0)
    return [
      fail(
        'services',
        'mail services run on a node that is not active: they may write into the copy',
        show,
        `${by('stop', up)}; then \`mailtwin verify\` on the primary`,
      ),
    ];
  const down = units.filter((unit) => unit.state !== 'running');
  if (isServing && down.length > 0)
    return [fail('services', 'mail services do not run on the active node', show, `see why they ended, then: ${by('start', down)}`)];
  return [
    pass('services', isServing ? 'the mail services run, as this node is active' : 'no mail service runs, as this node is not active'),
  ];
}
