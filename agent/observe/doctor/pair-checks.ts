import { displayPath } from '../../platform/files.ts';
import { fail, pass, warn, type Check } from './finding.ts';

const skewWarnSeconds = 1;
const skewFailSeconds = 60;
const verifyDaysMax = 7;
const dayMs = 86_400_000;
/** Warnings of the agent that are findings of their own here. */
const toldByOthers = ['unpaired', 'peer-lost', 'clock-skew', 'unproven', 'doubt', 'left-out'];
const unspecified = new Set(['0.0.0.0', '::', '*']);

/** How this node stands to the other one, and what the running agent says. */
export const pairChecks: Check[] = [
  {
    id: 'agent',
    run({ status }) {
      if (!status)
        return [
          warn(
            'agent',
            'no agent is running for this configuration',
            'nobody answers on its control socket',
            'start it: systemctl start mailtwin, or mailtwin run',
          ),
        ];
      return [pass('agent', `the agent runs as ${status.role}, version ${status.agentVersion}`)];
    },
  },
  {
    id: 'listen',
    async run({ probe, config, status }) {
      const { host, port } = config.listen;
      const at = `${host}:${port}`;
      if (status || port === 0) return [];
      const code = await probe.bind(host, port);
      if (code === null) return [pass('listen', `${at} is free`)];
      if (code === 'EADDRINUSE')
        return [
          fail(
            'listen',
            `another program has ${at}`,
            code,
            `find it with: ss -ltnp 'sport = :${port}', and end it or choose another port in \`listen:\``,
          ),
        ];
      if (code === 'EADDRNOTAVAIL')
        return [
          fail(
            'listen',
            `${host} is not an address of this host`,
            `it has ${probe
              .addresses()
              .map(({ address }) => address)
              .join(', ')}`,
            'correct `listen:`',
          ),
        ];
      return [fail('listen', `${at} cannot be bound`, code, code === 'EACCES' ? 'choose a port above 1023' : 'correct `listen:`')];
    },
  },
  {
    id: 'addresses',
    run({ probe, config }) {
      const addresses = probe.addresses().map(({ address }) => address);
      if (!unspecified.has(config.listen.host)) return [];
      const own = addresses.filter((address) => !/^(127\.|::1$|fe80:)/.test(address));
      if (own.length > 0) return [pass('addresses', `this host has ${own.join(', ')}`)];
      return [
        warn(
          'addresses',
          'this host has no address that the peer could reach',
          addresses.join(', '),
          'give it an address in the LAN of the pair',
        ),
      ];
    },
  },
  {
    id: 'peer',
    async run({ probe, config, status }) {
      const { addresses } = config.peer;
      if (status?.peer.connected)
        return [pass('peer', `connected to ${status.peer.node ?? 'the peer'}${status.peer.address ? ` at ${status.peer.address}` : ''}`)];
      if (addresses.length === 0)
        return [
          warn(
            'peer',
            'no address of the peer is known',
            '`peer.addresses` is empty',
            'pair the nodes: `mailtwin pair` on the primary, then `mailtwin pair HOST:PORT` on the standby',
          ),
        ];
      const results = await Promise.all(
        addresses.map(async ({ host, port }) => ({ at: `${host}:${port}`, code: await probe.connect(host, port) })),
      );
      const evidence = results.map(({ at, code }) => `${at}: ${code ?? 'answers'}`).join(', ');
      const down = results.filter(({ code }) => code !== null);
      // Only the primary needs to listen; a standby that does not is no fault.
      if (down.length === results.length) {
        const remedy = 'look whether the other host is up, its agent runs, and the firewall lets the port through';
        return [
          config.role === 'standby'
            ? fail('peer', 'the primary does not answer on any address', evidence, remedy)
            : warn('peer', 'the standby is not connected', evidence, remedy),
        ];
      }
      const why = status?.peer.lastError;
      if (status)
        return [
          warn(
            'peer',
            'the peer answers but is not connected',
            why ? `${evidence}; ${why}` : evidence,
            'look at the log of both agents; a re-keyed or wrong peer must be paired again',
          ),
        ];
      return [
        down.length > 0
          ? warn(
              'peer',
              'the peer does not answer on every address',
              evidence,
              'mend the path that does not answer, or take it out of `peer.addresses`',
            )
          : pass('peer', 'the peer answers', evidence),
      ];
    },
  },
  {
    id: 'clock-skew',
    run({ status }) {
      const skew = status?.peer.clockSkewSeconds ?? null;
      if (skew === null) return [];
      const evidence = `the peer's clock is ${Math.abs(skew).toFixed(2)} s ${skew < 0 ? 'behind' : 'ahead'}`;
      const remedy = 'let both hosts use the same time servers (systemd-timesyncd or chrony)';
      if (Math.abs(skew) >= skewFailSeconds) return [fail('clock-skew', 'the clocks of the nodes differ much', evidence, remedy)];
      if (Math.abs(skew) >= skewWarnSeconds) return [warn('clock-skew', 'the clocks of the nodes differ', evidence, remedy)];
      return [pass('clock-skew', 'the clocks of the nodes agree', evidence)];
    },
  },
  {
    id: 'unproven',
    run({ status }) {
      if (!status) return [];
      const { doubts, doubtCount } = status.replication;
      if (doubts.length === 0) return [pass('unproven', 'nothing is in doubt')];
      const evidence = doubts
        .slice(0, 5)
        .map(({ root, path, reason }) => `${root}:${displayPath(path)} (${reason})`)
        .join(', ');
      return [
        warn(
          'unproven',
          `${doubtCount} places may differ on the standby`,
          evidence,
          'mend the reason; each place is tried again by itself, with pauses of up to an hour',
        ),
      ];
    },
  },
  {
    id: 'held',
    run({ status }) {
      const held = status?.replication.held;
      if (!held) return [];
      return [fail('held', 'replication stands still', `${held.code}: ${held.detail}`, 'see `mailtwin status`')];
    },
  },
  {
    id: 'held-places',
    run({ status }) {
      const places = status?.replication.heldPlaces ?? [];
      const [first] = places;
      if (!first) return [];
      const shown = places
        .slice(0, 5)
        .map(({ root, path, code, detail }) => `${path === '' ? root : `${root}/${path}`}: ${code}: ${detail}`);
      return [
        fail(
          'held-places',
          `${places.length} ${places.length === 1 ? 'place is' : 'places are'} held on the standby`,
          shown.join('; '),
          first.remedy,
        ),
      ];
    },
  },
  {
    id: 'file-systems',
    run({ status }) {
      if (!status?.peer.connected) return [];
      const { fileSystems } = status;
      if (fileSystems.length === 0) return [pass('file-systems', 'the standby can keep all that the primary has')];
      return fileSystems.map(({ code, text, remedy }) => warn('file-systems', text, code, remedy));
    },
  },
  {
    id: 'verify',
    run({ probe, status }) {
      if (!status) return [];
      const last = status.lastVerify;
      if (!last) return [warn('verify', 'it was never verified that both nodes hold the same', '', 'run `mailtwin verify`')];
      const days = (probe.wallMs() - Date.parse(last.at)) / dayMs;
      const evidence = `${last.result}, ${last.differences} differences, ${last.at}`;
      if (last.result === 'incomplete')
        return [
          warn(
            'verify',
            `the last verification found no difference, except ${last.leftOut} places that are left out or held`,
            evidence,
            'see the findings `left-out`, or `mailtwin status` on the primary, which names them',
          ),
        ];
      if (last.result !== 'clean')
        return [
          fail(
            'verify',
            'the last verification was not clean',
            evidence,
            'run `mailtwin verify`; if it names differences again, look at the log of both agents',
          ),
        ];
      if (days > verifyDaysMax)
        return [
          warn(
            'verify',
            `the last verification is ${Math.floor(days)} days old`,
            evidence,
            'run `mailtwin verify`, best once a week by a timer',
          ),
        ];
      return [pass('verify', 'verified clean', evidence)];
    },
  },
  {
    id: 'warnings',
    run({ status }) {
      const told = new Set([...toldByOthers, status?.replication.held?.code, ...(status?.appliance?.alarms ?? []).map(({ code }) => code)]);
      return (status?.warnings ?? [])
        .filter(({ code }) => !told.has(code))
        .map(({ code, text, remedy }) => warn('warnings', `the agent warns: ${text}`, code, remedy));
    },
  },
];
