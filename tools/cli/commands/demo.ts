import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exitCodes } from '../../../protocol/control.ts';
import { ChangeLoop, changesAtRate, realisticWeights } from '../../mailgen/change.ts';
import { makeStoreSteps } from '../../mailgen/make.ts';
import { CommandError } from '../command-error.ts';
import type { Context } from '../context.ts';
import { AgentProcess, failure, runCommand } from '../demo/agent-process.ts';
import { LatencyProbe, quantile } from '../demo/latency.ts';
import { treeDifferences } from '../demo/same-trees.ts';
import { follow } from '../follow.ts';
import { plural, printable, showBytes, showCount, showSeconds } from '../format.ts';
import { ProgressReporter } from '../progress.ts';

const changesPerSecond = 20;
const standbyDownSeconds = 2;
const fillMs = 600_000;
const pollMs = 100;
const seed = 1;

interface Pair {
  dir: string;
  roots: { primary: string; standby: string };
  primary: AgentProcess;
  standby: AgentProcess;
}

/** `mailtwin demo`: a whole pair in a directory of its own; exit 0 only when everything went well. */
export async function demo(context: Context, flags: { seconds: number; messages: number; keep: boolean }): Promise<number> {
  const { terminal } = context;
  const interrupted = terminal.interrupted();
  const dir = mkdtempSync(join(tmpdir(), 'mailtwin-demo-'));
  const pair = pairIn(dir);
  const agents = [pair.primary, pair.standby];
  const atExit = () => {
    for (const agent of agents) agent.killNow();
  };
  process.on('exit', atExit);
  let failed = false;
  try {
    return await runDemo(context, pair, flags, interrupted);
  } catch (error) {
    if (interrupted.aborted)
      throw new CommandError({ code: 'interrupted', message: 'the demo was interrupted', remedy: '', exitCode: exitCodes.failed });
    failed = true;
    throw error;
  } finally {
    for (const agent of agents) await agent.stop();
    process.off('exit', atExit);
    if (failed)
      for (const [name, agent] of [
        ['demo-a', pair.primary],
        ['demo-b', pair.standby],
      ] as const)
        terminal.complain(`--- end of the log of ${name}\n${agent.logTail(15)}`);
    if (flags.keep) terminal.print(`Kept: ${dir}`);
    else rmSync(dir, { recursive: true, force: true });
  }
}

function pairIn(dir: string): Pair {
  const agent = (name: string) =>
    new AgentProcess({
      name,
      configFile: join(dir, name, 'mailtwin.yaml'),
      stateDir: join(dir, name, 'state'),
      logFile: join(dir, `${name}.log`),
    });
  return {
    dir,
    roots: { primary: join(dir, 'demo-a/mail'), standby: join(dir, 'demo-b/mail') },
    primary: agent('demo-a'),
    standby: agent('demo-b'),
  };
}

async function runDemo(context: Context, pair: Pair, flags: { seconds: number; messages: number }, signal: AbortSignal): Promise<number> {
  const { terminal } = context;
  terminal.print(`A primary and a standby on this machine, in ${pair.dir}`);
  const store = await makeSampleStore(context, pair, flags.messages, signal);
  await startPair(context, pair, signal);
  const fillSeconds = await fill(context, pair, signal);
  const activity = await mixedActivity(context, pair, flags.seconds, signal);

  const verified = await follow(context, 'verify', pair.primary.client.stream('POST /verify', { deep: true }, signal), {
    quiet: false,
    unit: 'files',
    onDifference: (line, reporter) => reporter.print(`different  ${printable(line.root)}:${printable(line.path)}  ${printable(line.what)}`),
  });
  const differences = treeDifferences(pair.roots.primary, pair.roots.standby);
  for (const difference of differences) terminal.print(printable(difference));

  const { probe } = activity;
  const ms = (value: number | null) => (value === null ? '-' : showSeconds(value / 1000));
  const row = (label: string, text: string) => terminal.print(`  ${label.padEnd(30)} ${text}`);
  terminal.print('');
  row('store', `${plural(store.messages, 'message')}, ${showBytes(store.bytes)}, ${plural(store.directories, 'directory', 'directories')}`);
  row('initial fill', `${showSeconds(fillSeconds)}, ${showBytes(store.bytes / Math.max(0.001, fillSeconds))}/s`);
  row(
    'activity',
    `${plural(activity.changes, 'change')} in ${showSeconds(flags.seconds)}, ${plural(activity.deliveries, 'delivery', 'deliveries')}`,
  );
  row(
    'delivery to durable',
    `median ${ms(quantile(probe.steadyMs, 0.5))}, 99 % ${ms(quantile(probe.steadyMs, 0.99))}, max ${ms(quantile(probe.steadyMs, 1))} (${showCount(probe.steadyMs.length)} measured)`,
  );
  row('standby killed and restarted', activity.killed ? `longest wait of a delivery ${ms(quantile(probe.interruptedMs, 1))}` : 'no');
  row('confirmed and missing', showCount(probe.missing.length));
  row('verify --deep', printable(verified.summary));
  row('comparison of the two trees', differences.length === 0 ? 'identical' : plural(differences.length, 'difference'));

  const well = verified.exitCode === 0 && differences.length === 0 && probe.missing.length === 0 && probe.failures.length === 0;
  for (const text of new Set(probe.failures)) terminal.complain(`a wait failed: ${printable(text)}`);
  terminal.print(well ? terminal.paint.good('\nAll went well.') : terminal.paint.bad('\nNot all went well.'));
  return well ? exitCodes.done : exitCodes.failed;
}

async function makeSampleStore(context: Context, pair: Pair, messages: number, signal: AbortSignal) {
  const reporter = new ProgressReporter(context.terminal, context.monotonicMs);
  mkdirSync(pair.roots.standby, { recursive: true });
  mkdirSync(join(pair.dir, 'demo-a'), { recursive: true });
  const steps = makeStoreSteps({ seed, dir: pair.roots.primary, messages });
  for (;;) {
    const step = steps.next();
    if (step.done) {
      reporter.end(false);
      context.terminal.print(`store     ${plural(step.value.messages, 'message')}, ${showBytes(step.value.bytes)}`);
      return step.value;
    }
    const { messagesDone, messagesTotal, bytesDone } = step.value;
    reporter.show({
      label: 'store',
      files: { done: messagesDone, total: messagesTotal },
      bytes: { done: bytesDone, total: null },
      unit: 'messages',
    });
    await context.sleep(0, signal);
    signal.throwIfAborted();
  }
}

async function startPair(context: Context, pair: Pair, signal: AbortSignal): Promise<void> {
  const port = await freePort();
  const files = (name: string) => [
    '--config',
    join(pair.dir, name, 'mailtwin.yaml'),
    '--state',
    join(pair.dir, name, 'state'),
    '--metrics',
    'off',
  ];
  await runCommand([
    'init',
    '--role',
    'primary',
    '--node',
    'demo-a',
    '--root',
    `mail=${pair.roots.primary}:maildir`,
    '--listen',
    `127.0.0.1:${port}`,
    ...files('demo-a'),
  ]);
  await runCommand([
    'init',
    '--role',
    'standby',
    '--node',
    'demo-b',
    '--root',
    `mail=${pair.roots.standby}:maildir`,
    '--listen',
    '127.0.0.1:0',
    ...files('demo-b'),
  ]);
  await pair.primary.start(signal);
  const offer = await pair.primary.client.ask('POST /pair', {});
  await runCommand(['pair', `127.0.0.1:${port}`, offer.code, '--yes', '--config', join(pair.dir, 'demo-b/mailtwin.yaml')]);
  context.terminal.print(`paired    with the one-time code ${offer.code}`);
  await pair.standby.start(signal);
}

/** A port of loopback that nobody has at this moment. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  return port;
}

/** Shows the initial fill to its end; the seconds that it took. */
async function fill(context: Context, pair: Pair, signal: AbortSignal): Promise<number> {
  const reporter = new ProgressReporter(context.terminal, context.monotonicMs);
  const start = context.monotonicMs();
  for (;;) {
    signal.throwIfAborted();
    pair.standby.check();
    const { replication } = await pair.primary.status();
    if (replication.phase === 'streaming' && replication.lagChanges === 0) break;
    if (replication.held) throw failure(`the fill is held: ${replication.held.code}: ${replication.held.detail}`);
    if (context.monotonicMs() - start > fillMs) throw failure(`the fill did not end within ${fillMs / 1000} s`);
    const done = replication.fill;
    if (done)
      reporter.show({
        label: 'fill',
        files: { done: done.filesDone, total: done.filesTotal },
        bytes: { done: done.bytesDone, total: done.bytesTotal },
      });
    await context.sleep(pollMs, signal);
  }
  const seconds = (context.monotonicMs() - start) / 1000;
  reporter.end(false);
  context.terminal.print(`filled    in ${showSeconds(seconds)}`);
  return seconds;
}

/** Mail arrives and changes; in the middle the standby is killed and started again. */
async function mixedActivity(
  context: Context,
  pair: Pair,
  seconds: number,
  signal: AbortSignal,
): Promise<{ changes: number; deliveries: number; killed: boolean; probe: LatencyProbe }> {
  const probe = new LatencyProbe(pair.primary.client, pair.roots);
  const reporter = new ProgressReporter(context.terminal, context.monotonicMs);
  // Of so small a store a minute's deleted folders would be a share that the guard against mass deletion holds.
  const weights = { ...realisticWeights, 'folder-delete': 0.1 };
  const loop = new ChangeLoop({ seed, dir: pair.roots.primary, weights });
  const start = context.monotonicMs();
  let changes = 0;
  let deliveries = 0;
  let restart: Promise<void> | undefined;
  let down = false;
  const ms = (value: number | null) => (value === null ? '-' : showSeconds(value / 1000));
  const killAndRestart = async () => {
    down = true;
    reporter.print('kill -9   of the standby; mail goes on arriving');
    await pair.standby.kill();
    await context.sleep(standbyDownSeconds * 1000, signal);
    await pair.standby.start(signal);
    // The pair is steady again when all that had gathered is through.
    for await (const line of pair.primary.client.stream('POST /wait', { timeoutSeconds: 120 }, signal))
      if (line.kind === 'error') throw new CommandError(line);
    down = false;
    reporter.print('restarted and caught up');
  };
  for await (const change of changesAtRate(loop, changesPerSecond, seconds, signal)) {
    changes++;
    if (change.kind === 'deliver') {
      deliveries++;
      probe.follow(change.path, change.atMs, () => down);
    }
    const elapsed = (context.monotonicMs() - start) / 1000;
    if (!restart && elapsed >= seconds / 2) {
      restart = killAndRestart();
      // Its failure is thrown below, where it is awaited.
      restart.catch(() => {});
    }
    pair.primary.check();
    reporter.show({
      label: 'activity',
      files: { done: changes, total: Math.round(changesPerSecond * seconds) },
      unit: 'changes',
      text: `durable in ${ms(probe.lastMs)}, median ${ms(quantile(probe.steadyMs, 0.5))}, 99 % ${ms(quantile(probe.steadyMs, 0.99))}${down ? ', standby down' : ''}`,
    });
  }
  signal.throwIfAborted();
  await restart;
  await probe.settled();
  reporter.end(false);
  return { changes, deliveries, killed: restart !== undefined, probe };
}
