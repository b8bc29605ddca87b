import type { DoctorFinding } from '../../../protocol/control.ts';
import type { NoticesConfig } from '../../config/notices.ts';
import { isLoopback } from '../../platform/ip-address.ts';
import { ownUnit as unit, unitConfigFile } from '../../platform/own-unit.ts';
import { fail, pass, warn, type Check, type Facts } from './finding.ts';
import { hasSystemd, readUnits } from './systemd-units.ts';

/** What the node tells others, and that it is there to tell it: metrics, page, notices, start at boot. */
export const tellingChecks: Check[] = [
  {
    id: 'metrics',
    run({ config: { metrics } }) {
      if (metrics === null) return [pass('metrics', 'neither metrics nor the status page are served')];
      const at = `${metrics.host}:${metrics.port}`;
      if (/^(localhost|127\.[\d.]+|::1)$/.test(metrics.host))
        return [pass('metrics', `metrics and status page are served on this host alone: ${at}`)];
      const troubles: DoctorFinding[] = [];
      if (metrics.auth === null)
        troubles.push(
          warn(
            'metrics',
            'everybody in the network can read the metrics',
            `${at}, without \`metrics.auth\`; the status page is not served so`,
            `in the configuration: metrics: { listen: "${at}", auth: { user: NAME, passwordFile: /etc/mailtwin/metrics.secret } }, or listen on 127.0.0.1`,
          ),
        );
      if (metrics.tls === null)
        troubles.push(
          warn(
            'metrics',
            metrics.auth ? 'the password of the metrics goes through the network in clear' : 'the metrics go through the network in clear',
            `${at}, without \`metrics.tls\``,
            'add `tls: { cert: FILE, key: FILE }` to `metrics:`, or listen on 127.0.0.1',
          ),
        );
      return troubles.length > 0 ? troubles : [pass('metrics', `metrics and status page are served on ${at}, by TLS and with a password`)];
    },
  },
  {
    id: 'notices',
    async run(facts) {
      const { notices } = facts.config;
      if (!notices) return [pass('notices', 'nobody is told by mail or webhook; a monitoring system has to do it')];
      const troubles = [...(await judgeSmtp(notices, facts)), ...(await judgeWebhook(notices, facts))];
      return troubles.length > 0 ? troubles : [pass('notices', 'the servers for notices answer, and are not of this pair')];
    },
  },
  {
    id: 'boot',
    async run({ config, probe }) {
      if (config.file !== unitConfigFile || !hasSystemd(probe)) return [];
      const [own] = (await readUnits(probe, [unit])) ?? [];
      if (own?.load === 'masked')
        return [
          fail(
            'boot',
            `${unit} is masked: the agent cannot start`,
            'LoadState=masked',
            `systemctl unmask ${unit} && systemctl enable --now ${unit}`,
          ),
        ];
      if (own?.load !== 'loaded') return [];
      if (own.file === 'enabled' || own.file === 'enabled-runtime') return [pass('boot', 'the agent starts when the host boots')];
      return [
        warn('boot', 'the agent does not start when the host boots', `${unit} is ${own.file || 'not enabled'}`, `systemctl enable ${unit}`),
      ];
    },
  },
];

async function judgeSmtp({ smtp }: NoticesConfig, facts: Facts): Promise<DoctorFinding[]> {
  if (!smtp) return [];
  const { probe, config } = facts;
  const at = `${smtp.host}:${smtp.port}`;
  const test = 'then: mailtwin notify test';
  const addresses = await probe.resolve(smtp.host);
  if (addresses.length === 0)
    return [
      warn(
        'notices',
        'the name of the mail server for notices is not known',
        smtp.host,
        `correct \`notices.smtp.host\` or the DNS; ${test}`,
      ),
    ];
  if (!smtp.evenThroughThisHost) {
    const service = config.network?.roles.flatMap((role) => role.addresses.map(({ address }) => address.text)) ?? [];
    const ofPair = [
      { what: 'a service address of the pair', is: (each: string) => service.includes(each) },
      { what: 'this host', is: (each: string) => isLoopback(each) || probe.addresses().some(({ address }) => address === each) },
      { what: 'the other node', is: (each: string) => config.peer.addresses.some(({ host }) => host === each) },
    ];
    for (const { what, is } of ofPair) {
      const address = addresses.find(is);
      if (address !== undefined)
        return [
          warn(
            'notices',
            `notices would go through the mail server that is replicated: ${smtp.host} is ${what}`,
            `${smtp.host} is ${address}`,
            `name a mail server outside of the pair in \`notices.smtp.host\`; ${test}`,
          ),
        ];
    }
  }
  const code = await probe.connect(smtp.host, smtp.port);
  if (code === null) return [];
  return [
    warn(
      'notices',
      'the mail server for notices does not answer',
      `${at}: ${code}`,
      `correct \`notices.smtp\`, or let the firewall pass it; ${test}`,
    ),
  ];
}

async function judgeWebhook({ webhook }: NoticesConfig, { probe }: Facts): Promise<DoctorFinding[]> {
  if (!webhook) return [];
  const { hostname, port, protocol } = new URL(webhook.url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const number = port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
  const code = await probe.connect(host, number);
  const troubles: DoctorFinding[] = [];
  if (protocol === 'http:' && webhook.secretFile !== null && !isLoopback(host))
    troubles.push(
      warn(
        'notices',
        'the secret of the webhook goes through the network in clear',
        `${host} by http`,
        'use https in `notices.webhook.url`',
      ),
    );
  if (code !== null)
    troubles.push(
      warn(
        'notices',
        'the server of the webhook does not answer',
        `${host}:${number}: ${code}`,
        'correct `notices.webhook.url`; then: mailtwin notify test',
      ),
    );
  return troubles;
}
