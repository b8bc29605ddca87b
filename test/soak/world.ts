import { spawnSync } from 'node:child_process';
import type { SoakOptions } from './options.ts';
import { moved } from './world/disks.ts';
import { soakWorld } from './world/scenario.ts';

const roomMark = 'MAILTWIN_SOAK_ROOM';
const minutesDefault = 30;

/**
 * `npm run soak -- --world`: a pair with real agents and a real Dovecot on disks that come, go, fill and are of many
 * kinds. False when a confirmed message was not on the mounted store, trees differ in the end, or an agent ended by itself.
 */
export async function run(options: SoakOptions): Promise<boolean> {
  if (process.getuid?.() !== 0) {
    process.stdout.write('world: file systems can only be mounted by root\n');
    return false;
  }
  const minutes = Number.isFinite(options.minutesMax) ? options.minutesMax : minutesDefault;
  // Every mount is of a mount namespace of its own, which is gone with its last process, whatever becomes of this one.
  if (process.env[roomMark] === undefined) {
    const words = ['--mount', '--propagation', 'private', process.execPath, ...process.execArgv, ...process.argv.slice(1)];
    const { status } = spawnSync('unshare', words, { stdio: 'inherit', env: { ...process.env, [roomMark]: '1' } });
    return status === 0;
  }
  const result = await soakWorld({ seed: String(options.seed), minutes, say: (line) => process.stdout.write(`${line}\n`) });
  for (const problem of result.problems) process.stdout.write(`WRONG ${problem}\n`);
  for (const [name, times] of Object.entries(result.happened).toSorted(([, a], [, b]) => b - a))
    process.stdout.write(`${String(times).padStart(5)} × ${name}\n`);
  for (const [code, times] of Object.entries(result.refused))
    process.stdout.write(`${String(times).padStart(5)} × wait did not confirm: ${code}\n`);
  process.stdout.write(
    `world: seed ${options.seed}, ${result.events} events, ${moved.mounts} mounts, ${moved.umounts} unmounts, ${result.calm} comparisons, ${result.waits} waits, ${result.confirmed} confirmed and looked for, ` +
      `${result.acknowledged} messages accepted by the mail server, ${result.problems.length} problems\n`,
  );
  return result.problems.length === 0;
}
