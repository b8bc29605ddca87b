import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Hint } from '../../agent/capture/watcher.ts';
import type { Config } from '../../agent/config/config.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { Root } from '../../agent/replicate/root.ts';
import { keepWatching } from '../../agent/wiring/keep-watching.ts';
import { waitFor } from '../lab/waiting.ts';

/** A thread for each watcher takes its time. */
const handOvers = { chokidar: 30, auto: 6 };
const directories = 400;
/** Makes files below the root at a few places at a time, by name, until its input ends; then it says how many it made. */
const writer = `
const fs = require('node:fs');
let made = 0;
let over = false;
process.stdin.on('end', () => (over = true)).resume();
const step = () => {
  for (let i = 0; i < 3; i++) fs.writeFileSync(process.argv[1] + '/d' + ((made * 7) % ${directories}) + '/f' + made++, '');
  if (over) process.stdout.write(String(made));
  else setTimeout(step, 1);
};
step();
`;

it.each(['chokidar', 'auto'] as const)('a watcher (%s) that takes the place of another one under load loses nothing', async (setting) => {
  const dir = mkdtempSync(join(tmpdir(), 'mailtwin-handover-'));
  const path = join(dir, 'root');
  for (let i = 0; i < directories; i++) mkdirSync(join(path, `d${i}`), { recursive: true });
  const stopping = new AbortController();
  const seen = new Set<string>();
  const lost: Hint[] = [];
  const format = { classify: () => ({ ignored: false }) };
  const kept = await keepWatching({
    config: { state: dir, capture: { watcher: setting } } as unknown as Config,
    log: silentLog,
    roots: [{ name: 'mail', path, format } as unknown as Root],
    onHints(hints) {
      for (const hint of hints) {
        if (hint.kind === 'lost') lost.push(hint);
        else if (hint.path !== '') seen.add(hint.path);
      }
    },
    mustStart: true,
    signal: stopping.signal,
    failed: (error) => {
      throw error;
    },
  });
  const child = spawn(process.execPath, ['-e', writer, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await waitFor('the writer to be at work', 30_000, () => seen.size > 0);
    for (let i = 0; i < handOvers[setting]; i++) {
      // The root itself is not looked at anew: what is missing then was lost.
      kept.moved([{ root: 'mail', path: '' }]);
      await pause(40);
      await kept.barrier(30_000);
    }
    await waitFor('the writer to have done enough', 30_000, () => seen.size > 100);
    child.stdin.end();
    await once(child, 'close');
    await kept.barrier(30_000);
    const made = Number(said);
    expect(made).toBeGreaterThan(100);
    const missing = Array.from({ length: made }, (_, i) => `d${(i * 7) % directories}/f${i}`).filter((file) => !seen.has(file));
    expect([missing.slice(0, 5), lost]).toEqual([[], []]);
  } finally {
    child.kill('SIGKILL');
    stopping.abort();
    await kept.stop();
    rmSync(dir, { recursive: true, force: true });
  }
});
