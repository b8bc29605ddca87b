import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

// The scripts in this folder run before anything is installed: Node's own modules only.

/** The project's top directory, without a slash at the end. */
export const top = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/**
 * Runs a command in the project's top directory, its output straight to ours.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {Record<string, string>} [env] Added to our own environment.
 * @returns {number} Its exit code; 1 when a signal ended it, 127 when there is no such command.
 */
export function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, { cwd: top, stdio: 'inherit', env: { ...process.env, ...env } });
  if (error) {
    process.stderr.write(`${command}: ${error.message}\n`);
    return 127;
  }
  return status ?? 1;
}

/**
 * Runs commands side by side; prints what each said when it has ended, and only when it failed.
 *
 * @param {readonly { name: string, args: readonly string[] }[]} steps `args` are given to this Node.
 * @returns {Promise<string[]>} The names of those that failed.
 */
export async function runNodeSteps(steps) {
  const failed = await Promise.all(
    steps.map(async ({ name, args }) => {
      const start = performance.now();
      const { code, output } = await capture(args);
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      process.stdout.write(`${code === 0 ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)\n${code === 0 ? '' : output}`);
      return code === 0 ? [] : [name];
    }),
  );
  return failed.flat();
}

/**
 * @param {readonly string[]} args
 * @returns {Promise<{ code: number, output: string }>}
 */
function capture(args) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: top, stdio: ['ignore', 'pipe', 'pipe'] });
    /** @type {Buffer[]} */
    const chunks = [];
    child.stdout.on('data', (chunk) => chunks.push(chunk));
    child.stderr.on('data', (chunk) => chunks.push(chunk));
    child.on('error', (error) => resolve({ code: 127, output: `${error.message}\n` }));
    child.on('close', (code) => resolve({ code: code ?? 1, output: Buffer.concat(chunks).toString() }));
  });
}
