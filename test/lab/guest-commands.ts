import { spawn } from 'node:child_process';
import { createReadStream, openSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';

/**
 * Runs in the guest, by the runtime of the package, which reads this file as it is: commands come from the second serial
 * port, one a line, and what came of each goes back there (`guest.ts`). It ends with the end of the input.
 */
interface Command {
  id: number;
  argv: string[];
  timeoutMs: number;
}

const port = '/dev/ttyS1';
const answers = openSync(port, 'w');

function answer(id: number, result: { code: number; stdout: string; stderr: string }): void {
  const bytes = Buffer.from(`${JSON.stringify({ id, ...result })}\n`);
  for (let sent = 0; sent < bytes.length;) sent += writeSync(answers, bytes, sent);
}

function run({ id, argv: [program = '', ...args], timeoutMs }: Command): void {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs, killSignal: 'SIGKILL' });
  const said = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.stderr += text));
  child.once('error', (error) => answer(id, { code: 127, stdout: '', stderr: error.message }));
  child.once('close', (code) => answer(id, { code: code ?? -1, ...said }));
}

const lines = createInterface({ input: createReadStream(port) });
lines.on('line', (line) => run(JSON.parse(line) as Command));
lines.once('close', () => process.exit());
answer(0, { code: 0, stdout: 'ready', stderr: '' });
