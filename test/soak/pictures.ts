import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppliancePair } from '../lab/appliance-pair.ts';
import { LmtpClient } from '../lab/lmtp-client.ts';
import { ownerMark } from '../lab/ownership.ts';
import { run as command } from '../lab/processes.ts';
import { TerminalSession } from '../lab/terminal-session.ts';
import { waitFor } from '../lab/waiting.ts';
import type { Soak } from './options.ts';

const mainFile = fileURLToPath(new URL('../../dist/tools/cli/main.js', import.meta.url));
const images = fileURLToPath(new URL('../../deploy/images', import.meta.url));
const columns = 100;
const bytesMax = 150_000;
const waitMs = 120_000;

/**
 * Records the terminal pictures of README.md anew: a demo, and a failover of a whole appliance whose primary lost its
 * power, with what a person types. Each picture is still, the last screen, so that it can be read without a script.
 */
export const run: Soak = async () => {
  await command('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'termtosvg'], { timeoutMs: 600_000 });
  const dir = mkdtempSync(join(tmpdir(), `${ownerMark()}-pictures-`));
  try {
    await draw(dir, 'demo', await recordDemo(dir));
    await draw(dir, 'failover', await recordFailover(dir));
    return true;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
};

async function recordDemo(dir: string): Promise<string> {
  const prompt = '$ ';
  await using shell = shellOf(program(dir, []), prompt);
  await shell.see(/\$ $/);
  shell.type('mailtwin demo --seconds 30');
  await shell.see(/All went well\./);
  return await recordingOf(shell, prompt);
}

async function recordFailover(dir: string): Promise<string> {
  await using pair = new AppliancePair({ base: '/dev/shm' });
  await pair.start();
  const client = await LmtpClient.open({ host: pair.address, port: 24 });
  for (let i = 0; i < 40; i++)
    await client.deliver('lab@lab', ['probe', 'anna', 'bert', 'clara'], Buffer.from(`Subject: letter ${i}\n\ntext\n`));
  client.abandon();
  await pair.settled(pair.a);
  await pair.a.agent.cli(['verify', '--deep']);
  await pair.a.cutPower();
  await waitFor('mail-a to be missed', waitMs, async () => (await pair.b.failoverGuards()).every(({ level }) => level !== 'fail'));
  const bin = program(dir, ['--config', pair.b.agent.configFile]);
  const prompt = 'mail-b# ';
  await using shell = shellOf(bin, prompt, ['ip', 'netns', 'exec', pair.b.namespace]);
  await shell.see(/# $/);
  shell.type('mailtwin failover');
  await shell.see(/out of service: $/);
  shell.type('mail-a');
  await shell.see(/to accept it: $/);
  shell.type('yes');
  await shell.see(/is active in epoch/);
  return await recordingOf(shell, prompt);
}

/** A shell on a terminal; `bin` is first on its search path, and takes its start file. `inside` is put before its command line. */
function shellOf(bin: string, prompt: string, inside: readonly string[] = []): TerminalSession {
  const startFile = join(bin, '.shrc');
  // A shell of root takes no prompt from its environment.
  writeFileSync(startFile, `PS1='${prompt}'\n`);
  const shell = `stty cols ${columns} rows 200; exec dash -i`;
  const [file, ...args] = [...inside, 'script', '--quiet', '--command', shell, '/dev/null'];
  const env = { PATH: `${bin}:${process.env['PATH']}`, HOME: '/', TERM: 'xterm-256color', LC_ALL: 'C.UTF-8', ENV: startFile };
  return new TerminalSession(file, args, { cwd: '/', env });
}

/** Everything on the terminal, up to the prompt that stands there at last. */
async function recordingOf(shell: TerminalSession, prompt: string): Promise<string> {
  await waitFor('the last prompt', waitMs, () => shell.output.endsWith(`\n${prompt}`));
  return shell.raw.slice(0, shell.raw.lastIndexOf('\r\n'));
}

/** Makes `mailtwin` a program as on an appliance, with these options. @returns the directory that it is in. */
function program(dir: string, options: readonly string[]): string {
  const bin = mkdtempSync(join(dir, 'bin-'));
  writeFileSync(join(bin, 'mailtwin'), `#!/bin/sh\nexec ${process.execPath} ${mainFile} "$@" ${options.join(' ')}\n`, { mode: 0o755 });
  return bin;
}

/** The last screen of a recording becomes `deploy/images/NAME.svg`. */
async function draw(dir: string, name: string, recording: string): Promise<void> {
  const cast = join(dir, `${name}.cast`);
  const frames = join(dir, name);
  mkdirSync(frames);
  // As high as the text is long: no line is longer than the terminal is wide.
  const height = recording.split('\r\n').length;
  const header = { version: 2, width: columns, height };
  // asciicast v2: a header, then an event a line. One event makes one picture.
  writeFileSync(cast, `${JSON.stringify(header)}\n${JSON.stringify([0, 'o', recording])}\n`);
  await command('termtosvg', ['render', cast, frames, '--still-frames', '--template', 'window_frame']);
  const last = readdirSync(frames).toSorted().at(-1);
  if (last === undefined) throw new Error('termtosvg drew nothing');
  const svg = readFileSync(join(frames, last));
  if (svg.length > bytesMax) throw new Error(`${name}.svg has ${svg.length} bytes, at most ${bytesMax} are wanted`);
  const file = join(images, `${name}.svg`);
  writeFileSync(file, svg);
  console.log(`${file}  ${height} lines, ${svg.length} bytes`);
}
