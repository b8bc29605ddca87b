/**
 * The runbook as a machine reads it: its procedures with their command lines, what they are to print, and what is to be
 * written into a configuration. Both languages have the same commands for the same hosts.
 */

export interface Procedure {
  title: string;
  blocks: Block[];
}

export type Block =
  | { kind: 'commands'; commands: Command[] }
  /** YAML for the configuration of these nodes. */
  | { kind: 'config'; hosts: Host[]; text: string }
  | { kind: 'output'; lines: string[] };

export type Host = 'mail-a' | 'mail-b' | 'mail-c';

export interface Command {
  line: string;
  /** Where it runs, one after the other. */
  hosts: Host[];
}

const programs =
  /^(mailtwin|dpkg|apt-get|systemctl|journalctl|timedatectl|ip|scp|install|mount|df|nano|sed|cp|rm|ls|kill|dovecot|doveadm|doveconf|ping)(?= |$)/;
const yaml = /^[a-z]+:( |$)/;

/** @throws when a block is neither commands nor output nor configuration, or nothing says where a command runs. */
export function readRunbook(text: string): Procedure[] {
  const procedures: Procedure[] = [];
  let paragraph: string[] = [];
  let block: string[] = [];
  const flush = () => {
    const procedure = procedures.at(-1);
    const lead = paragraph.join(' ');
    // A blank line parts what is typed from what is printed.
    for (const part of block.join('\n').split(/\n{2,}/))
      if (part.trim() !== '' && procedure) procedure.blocks.push(blockOf(part.trimEnd().split('\n'), lead, procedure.title));
    if (block.length > 0) paragraph = [];
    block = [];
  };
  let before = '';
  for (const line of [...text.split('\n'), '# end']) {
    const heading = /^#+ (.*)$/.exec(line);
    if (line.startsWith('    ') && (block.length > 0 || before === '')) block.push(line.slice(4));
    else if (line === '' && block.length > 0) block.push('');
    else {
      flush();
      if (heading) procedures.push({ title: heading[1] ?? '', blocks: [] });
      if (heading || (line !== '' && before === '')) paragraph = [];
      if (!heading && line !== '') paragraph.push(line);
    }
    before = line;
  }
  return procedures.filter(({ blocks }) => blocks.length > 0);
}

function blockOf(lines: string[], lead: string, title: string): Block {
  const [first = ''] = lines;
  const last = hostsIn(lead);
  if (programs.test(first)) {
    const commands = lines
      .filter((line) => line !== '')
      .map((each): Command => {
        const [line = '', comment = ''] = each.split(/\s+#\s(.*)$/);
        const hosts = hostsIn(comment).length > 0 ? hostsIn(comment) : last;
        if (hosts.length === 0) throw new Error(`${title}: nothing says where this runs: ${line}`);
        if (!programs.test(line)) throw new Error(`${title}: not a command: ${line}`);
        return { line: line.trimEnd(), hosts };
      });
    return { kind: 'commands', commands };
  }
  if (yaml.test(first)) {
    if (last.length === 0) throw new Error(`${title}: nothing says into whose configuration this goes: ${first}`);
    return { kind: 'config', hosts: last, text: `${lines.join('\n')}\n` };
  }
  return { kind: 'output', lines };
}

/** The hosts that a text names last: "on mail-a", "on both". */
function hostsIn(text: string): Host[] {
  const named = [...text.matchAll(/\b(?:on|auf) (mail-[abc]|both|beiden)\b/gi)].at(-1)?.[1];
  if (named === undefined) return [];
  return named.startsWith('mail-') ? [named as Host] : ['mail-a', 'mail-b'];
}

/** A printed line without what differs from run to run: numbers, times, positions. */
export function shapeOf(line: string): string {
  return line
    .replaceAll(/\d+(?:[.,:T-]\d+)*(?:\.\d+)?Z?/g, 'N')
    .replaceAll(/\b(?:N (?:min|h|d|ms|s) )+/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
}
