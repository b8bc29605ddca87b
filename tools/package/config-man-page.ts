import type { ConfigKey } from '../../protocol/config-key.ts';
import { defaultText, sectionOf, sectionsAbout } from '../docs/configuration-page.ts';
import { roff } from './man-page.ts';

/** The manual page mailtwin.yaml(5), from the schema. */
export function configManPage(keys: readonly ConfigKey[], version: string, date: string): string {
  const sections = Object.entries(sectionsAbout).flatMap(([section, about]) => [
    `.SS "${section === '' ? 'The node' : section}"`,
    ...(section === '' ? [] : [plain(about)]),
    ...keys.filter(({ key }) => sectionOf(key, keys) === section).flatMap(keyLines),
  ]);
  return [
    `.TH MAILTWIN.YAML 5 "${date}" "mailtwin ${roff(version)}" "File Formats"`,
    '.SH NAME',
    'mailtwin.yaml \\- configuration of a node of mailtwin',
    '.SH SYNOPSIS',
    '.I /etc/mailtwin/mailtwin.yaml',
    '.SH DESCRIPTION',
    plain(
      'The file is YAML. `mailtwin init` writes it with comments. A wrong key or value is refused with file, line and what to write instead. A change takes effect when the agent is started again.',
    ),
    '.PP',
    plain(
      '`roots[].path` stands for the key `path` of each entry of the list `roots`. A key that is required is required where its section stands. Sizes are written with kB, MB, GB (powers of 1000) or KiB, MiB, GiB (powers of 1024).',
    ),
    '.SH KEYS',
    ...sections,
    '.SH FILES',
    '.I /usr/share/doc/mailtwin/examples',
    'has samples.',
    '.SH SEE ALSO',
    '.BR mailtwin (1)',
    '',
  ].join('\n');
}

function keyLines(key: ConfigKey): string[] {
  const facts = [
    key.form,
    key.unit === null ? null : `in ${key.unit}`,
    key.fallback === null ? 'required' : `default: ${defaultText(key)}`,
  ];
  return ['.TP', `.B ${roff(key.key)}`, plain(facts.filter((fact) => fact !== null).join('; ')), '.br', plain(key.means)];
}

/** Text without the marks of Markdown. */
function plain(text: string): string {
  return roff(text.replaceAll('`', '').replaceAll(/\[([^\]]+)\]\([^)]+\)/g, '$1'));
}
