import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { parse, stringify } from 'yaml';
import { exitCodes, type DoctorFinding } from '../../../protocol/control.ts';
import type { NicsReport } from '../../../protocol/nics.ts';
import { asControlError, CommandError } from '../command-error.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { redact, redactLines } from '../support/redact.ts';
import { tar, type TarEntry } from '../support/tar.ts';
import { jsonText } from '../json.ts';

export interface BundleFlags extends CommonOptions {
  out?: string;
  withNames: boolean;
}

const about: Record<string, string> = {
  'versions.txt': 'versions of mailtwin, Node.js, the kernel and the mail server',
  'config.yaml': 'the configuration, without secrets',
  'status.json': 'what the agent says of itself and its peer',
  'metrics.txt': 'its metrics',
  'doctor.json': 'what mailtwin doctor finds',
  'nics.json': 'ports and network roles',
  'takeover.json': 'the last takeover: plan, steps, outcome',
  'audit.ndjson': 'the audit log',
  'log.ndjson': 'the last lines of the agent in the journal',
};

/** `mailtwin support-bundle`: works with and without a running agent. */
export async function supportBundle(context: Context, flags: BundleFlags): Promise<number> {
  const { terminal, wallMs } = context;
  const options = { withNames: flags.withNames, salt: randomBytes(16).toString('hex') };
  const agent = await context.loadAgent();
  const files = new Map<string, string>();
  const missing: string[] = [];
  for (const { name, text } of await agent.supportFiles(flags.config))
    files.set(name, name === 'config.yaml' ? redactedYaml(text, options) : redactLines(text, options));
  const json = (name: string, value: unknown) => files.set(name, `${JSON.stringify(redact(value, options), null, 2)}\n`);
  let nics: NicsReport | null = null;
  const status = await ask(missing, 'status.json', async () => (await agentOf(context, flags.config)).ask('GET /status', null));
  if (status) {
    json('status.json', status);
    const client = await agentOf(context, flags.config);
    nics = await ask(missing, 'nics.json', () => client.ask('GET /nics', null));
    if (nics) json('nics.json', nics);
    const last = await ask(missing, 'takeover.json', () => client.ask('GET /takeover/last', null));
    if (last) json('takeover.json', last);
    const metrics = await ask(missing, 'metrics.txt', () => client.ask('GET /metrics', null));
    if (metrics) files.set('metrics.txt', metrics.text);
  } else missing.push(...['metrics.txt', 'nics.json', 'takeover.json'].map((name) => `${name}: the agent does not answer`));
  json('doctor.json', await findings(agent.doctor(flags.config, status, nics)));

  const at = new Date(wallMs());
  const names = [...files.keys()].toSorted();
  const manifest = [
    `mailtwin support bundle, ${at.toISOString()}`,
    '',
    ...names.map((name) => `${name.padEnd(16)} ${about[name] ?? ''}`),
    ...(missing.length > 0 ? ['', 'Not in it:', ...missing.map((line) => `  ${line}`)] : []),
    '',
    'Left out on purpose: mail and its headers, keys and certificates, passwords and the files that hold them.',
    flags.withNames
      ? 'Names of users and mailboxes are as they are (--with-names).'
      : 'Names of users, mailboxes and messages are replaced by #hashes that hold within this bundle alone.',
    '',
  ].join('\n');
  const entries: TarEntry[] = [['MANIFEST.txt', manifest] as const, ...names.map((name) => [name, files.get(name) ?? ''] as const)].map(
    ([name, text]) => ({
      name: `mailtwin-support/${name}`,
      content: Buffer.from(text),
    }),
  );
  const out = flags.out ?? `mailtwin-support-${at.toISOString().slice(0, 19).replaceAll(':', '')}.tar.gz`;
  try {
    writeFileSync(out, gzipSync(tar(entries, Math.floor(wallMs() / 1000))), { mode: 0o600 });
  } catch (error) {
    throw new CommandError({
      code: 'bundle-file',
      message: error instanceof Error ? error.message : String(error),
      remedy: 'name another file with --out',
      exitCode: exitCodes.failed,
    });
  }
  terminal.print(flags.json ? jsonText({ file: out, entries: ['MANIFEST.txt', ...names], missing }) : `${manifest}\nwritten to ${out}`);
  return exitCodes.done;
}

/** Null, and noted, when the agent does not answer or refuses. */
async function ask<T>(missing: string[], name: string, question: () => Promise<T>): Promise<T | null> {
  try {
    return await question();
  } catch (error) {
    const known = asControlError(error);
    if (!known) throw error;
    missing.push(`${name}: ${known.message}`);
    return null;
  }
}

async function findings(lines: AsyncIterable<DoctorFinding>): Promise<DoctorFinding[]> {
  const all: DoctorFinding[] = [];
  for await (const finding of lines) all.push(finding);
  return all;
}

function redactedYaml(text: string, options: { withNames: boolean; salt: string }): string {
  try {
    // Comments may hold anything, so they stay behind.
    return stringify(redact(parse(text), { ...options, withNames: true }));
  } catch (error) {
    return `# not YAML: ${error instanceof Error ? error.message.split('\n')[0] : ''}\n`;
  }
}
