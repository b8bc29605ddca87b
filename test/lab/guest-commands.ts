import { spawn } from 'node:child_process';
import { createReadStream, openSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';

/**
 * Runs in the guest, by the runtime of the package, which reads this file as it is: commands come from the second serial
 * port, one a line, and what came of each goes back there (`guest.ts`). It ends with the end of the input.
 */
type Command = { id: number } & (
  | { argv: string[]; timeoutMs: number }
  /** A question to the agent with this state directory, by the command line's own client: that saves a start of it. */
  | { state: string; ask: string }
);

const port = '/dev/ttyS1';
const answers = openSync(port, 'w');

function answer(id: number, result: { code: number; stdout: string; stderr: string }): void {
  const bytes = Buffer.from(`${JSON.stringify({ id, ...result })}\n`);
  for (let sent = 0; sent < bytes.length;) sent += writeSync(answers, bytes, sent);
}

/** Of the package in the guest. */
const clientFile: string = '/usr/lib/mailtwin/dist/tools/cli/control-client.js';
const client = (await import(clientFile)) as {
  controlClient(state: string): { ask(what: string, body: null): Promise<unknown> };
};

function run(command: Command): void {
  if ('ask' in command) return void ask(command.id, command.state, command.ask);
  const { id, timeoutMs } = command;
  const [program = '', ...args] = command.argv;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs, killSignal: 'SIGKILL' });
  const said = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.stderr += text));
  child.once('error', (error) => answer(id, { code: 127, stdout: '', stderr: error.message }));
  child.once('close', (code) => answer(id, { code: code ?? -1, ...said }));
}

async function ask(id: number, state: string, what: string): Promise<void> {
  try {
    answer(id, { code: 0, stdout: JSON.stringify(await client.controlClient(state).ask(what, null)), stderr: '' });
  } catch (error) {
    answer(id, { code: 1, stdout: '', stderr: error instanceof Error ? error.message : String(error) });
  }
}

const lines = createInterface({ input: createReadStream(port) });
lines.on('line', (line) => run(JSON.parse(line) as Command));
lines.once('close', () => process.exit());
answer(0, { code: 0, stdout: 'ready', stderr: '' });
