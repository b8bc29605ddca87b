import type { ConfigKey } from '../../protocol/config-key.ts';
import { madeFrom, table } from './markdown.ts';

/** What each section is for. */
export const sectionsAbout: Readonly<Record<string, string>> = {
  '': 'The node.',
  peer: 'How the other node is found.',
  roots: 'The directory trees that are kept identical; a list.',
  capture: 'How changes are noticed.',
  limits: 'What protects the network and both stores.',
  history: 'What was deleted or replaced stays on the standby for a while.',
  scrub: 'All content is read from its disk again and again.',
  metrics: 'Prometheus metrics, health and status page; see [monitoring](monitoring.md).',
  log: 'The log of the agent.',
  fencing:
    'What makes sure that the OTHER node is off before this one takes over; a list. Levels for BMCs, virtual machines and outlets: [examples/fence-devices.yaml](../examples/fence-devices.yaml).',
  services: 'The mail services, which run on the active node alone. Without this section the agent starts and stops none.',
  network: 'Service addresses, by the segment that they belong to. Without this section the agent moves none.',
  takeover: 'How a takeover goes.',
  notices: 'Who is told by mail or webhook. Without this section nobody is.',
};

/** The first part of a key that stands in a section; empty for a key of the node itself. */
export function sectionOf(key: string, all: readonly ConfigKey[]): string {
  const [first = ''] = key.split(/[.[]/);
  return key !== first || all.some((other) => other.key !== first && other.key.split(/[.[]/)[0] === first) ? first : '';
}

export function defaultText({ fallback }: ConfigKey): string {
  return fallback ?? 'required';
}

/** deploy/docs/configuration.md: every key, from the schema. */
export function configurationPage(keys: readonly ConfigKey[]): string {
  const sections = Object.entries(sectionsAbout).map(([section, about]) => {
    const rows = keys
      .filter(({ key }) => sectionOf(key, keys) === section)
      .map((key) => [`\`${key.key}\``, key.form, defaultText(key), key.unit ?? '', key.means]);
    return `\n## ${section === '' ? 'Node' : section}\n\n${about}\n\n${table(['key', 'what stands there', 'default', 'unit', 'meaning'], rows)}\n`;
  });
  return `# Configuration

${madeFrom('agent/config/schema.ts')}

The file is \`/etc/mailtwin/mailtwin.yaml\`, or what \`--config\` or the variable \`MAILTWIN_CONFIG\` names. \`mailtwin init\` writes it with comments; \`man mailtwin.yaml\` has this page.
A wrong key or value is refused with file, line and what to write instead. A change takes effect when the agent is started again. Samples are in [examples](../examples).

\`roots[].path\` stands for the key \`path\` of each entry of the list \`roots\`. A key that is *required* is required where its section stands. Sizes are written with kB, MB, GB (powers of 1000) or KiB, MiB, GiB (powers of 1024).
${sections.join('')}`;
}
