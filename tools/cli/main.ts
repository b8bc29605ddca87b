#!/usr/bin/env node
import { setTimeout as delay } from 'node:timers/promises';
import { loadAgent } from './agent-entry.ts';
import { runCommandLine } from './program.ts';
import { processTerminal } from './terminal.ts';
import { packageVersion } from './version.ts';

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
