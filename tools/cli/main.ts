#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** Modules are loaded many at a time; with fewer files open at once that ends in a stack trace. */
const openFilesMin = 256;

/** How many files this process may have open at once; Node has raised it to what it may be raised to. */
function openFilesMax(): number {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1];
    return limit === undefined ? Infinity : Number(limit);
  } catch {
    return Infinity;
  }
}

if (openFilesMax() < openFilesMin) {
  process.stderr.write(
    `mailtwin: few-files: this process may open ${openFilesMax()} files at once, and ${openFilesMin} are needed at least\n  what to do: raise the limit (\`ulimit -n\`; LimitNOFILE of the unit)\n`,
  );
  process.exit(1);
}

// Only now: see above.
const [{ loadAgent }, { runCommandLine }, { processTerminal }, { packageVersion }] = await Promise.all([
  import('./agent-entry.ts'),
  import('./program.ts'),
  import('./terminal.ts'),
  import('./version.ts'),
]);

// `mailtwin status | head` closes the pipe early: that is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await runCommandLine(
  process.argv.slice(2),
  {
    terminal: processTerminal(),
    loadAgent,
    wallMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    sleep: (ms, signal) => delay(ms, undefined, { signal }).catch(() => {}),
  },
  packageVersion(),
);
