import { type DebianLab, type HostName } from '../../lab/debian-lab.ts';
import type { RuleWatch } from '../../lab/rule-watch.ts';
import type { Book } from './book.ts';

/** What every procedure works with. */
export interface World {
  lab: DebianLab;
  book: Book;
  watch: RuleWatch;
  /** Where the test keeps what it makes: packages, an archive of them. */
  dir: string;
  /** What "Set up a pair" adds to the configuration. */
  takeoverConfig: string;
}

const file = '/etc/mailtwin/mailtwin.yaml';

/** As an editor would: takes a section of the configuration out, or puts another in its place. */
export function editConfig({ lab }: Pick<World, 'lab'>, name: HostName, sections: Readonly<Record<string, string | null>>): void {
  const host = lab.host(name);
  let text = host.read(file);
  for (const [section, content] of Object.entries(sections)) {
    text = text.replace(new RegExp(`^${section}:.*\\n(?:(?: .*)?\\n)*?(?=[a-z#]|$(?![^]))`, 'm'), '');
    if (content !== null) text += content;
  }
  host.write(file, text);
}

/** Puts a block of the runbook into the configuration: each of its sections in place of the one that was there. */
export function addConfig(world: Pick<World, 'lab'>, name: HostName, block: string): void {
  const sections = block.split(/^(?=[a-z]+:)/m).filter((each) => each.trim() !== '');
  editConfig(world, name, Object.fromEntries(sections.map((each) => [each.slice(0, each.indexOf(':')), each])));
}

/** The block as this lab needs it: the ports of the BMCs that are simulated, and a cipher suite because they give no list of theirs. */
export function fenceFor(block: string, other: HostName): string {
  const ports: Record<HostName, string> = { a: '9631', b: '9632', c: '9633' };
  return block.replace(/ipport: "\d+"/, `ipport: "${ports[other]}"`).replace('lanplus: "1"', 'lanplus: "1", cipher: "3"');
}
