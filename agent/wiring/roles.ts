import { mkdirSync } from 'node:fs';
import type { Status } from '../../protocol/control.ts';
import type { Position } from '../../protocol/position.ts';
import { chooseWatcher } from '../capture/choose-watcher.ts';
import type { Watcher } from '../capture/watcher.ts';
import type { ReplicaIndex } from '../journal/replica-index.ts';
import { startConnector } from '../link/connector.ts';
import { startListener, type LinkOptions } from '../link/listener.ts';
import type { PairingServer } from '../link/pairing-server.ts';
import { sleep, systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { realFiles } from '../platform/real-files.ts';
import { countFiles } from '../replicate/primary/count.ts';
import type { PrimaryRole } from '../replicate/primary/role.ts';
import { checkRoots } from '../replicate/primary/root-check.ts';
import type { StandbyRole } from '../replicate/standby/role.ts';
import type { SharedParts } from './agent.ts';

type LinkParts = Omit<LinkOptions, 'onChannel'>;

/** A role at work, as the rest of the agent sees it. Exactly one of `primary` and `standby` is there. */
export interface RunningRole {
  primary: PrimaryRole | null;
  standby: StandbyRole | null;
  index: ReplicaIndex;
  position(): Position;
  capture(): Status['capture'];
  fillTotal(): number | null;
  linkError(): string | null;
  connect(
    link: LinkParts,
    pairing: PairingServer | null,
    failed: (error: unknown) => void,
  ): Promise<{ port: number; stop(): Promise<void> }>;
  /** Begins the work in the background. */
  start(failed: (error: unknown) => void): void;
}

const watcherRetryMs = 5000;

/** Starts watching; connects and compares when told to. */
export async function startPrimary(
  shared: SharedParts,
  role: PrimaryRole,
  index: ReplicaIndex,
  closers: (() => Promise<void> | void)[],
  failed: (error: unknown) => void,
): Promise<RunningRole> {
  const { config, log, roots, kv } = shared;
  const trouble = checkRoots(roots, realFiles, kv, index);
  if (trouble && trouble.code !== 'root-changed') throw new OperatorError(trouble.code, trouble.detail, trouble.remedy);
  const barrierDir = `${config.state}/barrier`;
  mkdirSync(barrierDir, { recursive: true, mode: 0o700 });
  const stopping = new AbortController();
  let watcher: Watcher | null = null;
  const watch = async (): Promise<void> => {
    watcher = await chooseWatcher(
      config.capture.watcher,
      {
        roots,
        barrierDir,
        ignores: (name, path) => roots.find((root) => root.name === name)?.format.classify(path, null).ignored ?? true,
        onHints: (hints) => role.hints(hints),
        onFailure: (error) => {
          log.error({ error: error.message }, 'the watcher failed; starting it anew');
          watchAnew(`the watcher failed: ${error.message}`, watcherRetryMs).catch(failed);
        },
      },
      log,
    );
  };
  let renewing = false;
  const watchAnew = async (reason: string, afterMs: number): Promise<void> => {
    if (renewing) return;
    renewing = true;
    const old = watcher;
    watcher = null;
    const doubt = () => role.hints(roots.map((root) => ({ kind: 'lost', root: root.name, path: '', reason })));
    doubt();
    await old?.stop();
    for (let waitMs = afterMs; ; waitMs = watcherRetryMs) {
      if (waitMs > 0) await sleep(systemClock, waitMs, stopping.signal);
      if (stopping.signal.aborted) return;
      try {
        await watch();
        break;
      } catch (error) {
        if (!(error instanceof OperatorError)) throw error;
        log.error({ code: error.code }, `the watcher cannot be started: ${error.message}`);
      }
    }
    renewing = false;
    // Whatever happened while nobody watched is found by comparing (I10).
    doubt();
  };
  await watch();
  // Watches end with the file system that was unmounted, and what is mounted now has none.
  role.sender.onRootsBack(() => void watchAnew('the root was away', 0).catch(failed));
  role.watch(async (timeoutMs) => {
    const deadline = systemClock.monotonicMs() + timeoutMs;
    // While it is started anew it is waited for.
    while (!watcher) {
      if (systemClock.monotonicMs() >= deadline || stopping.signal.aborted) throw new Error('the watcher does not run');
      await sleep(systemClock, 20, stopping.signal);
    }
    await watcher.barrier(Math.max(1, deadline - systemClock.monotonicMs()));
  });
  let total: number | null = null;
  let listener: Awaited<ReturnType<typeof startListener>> | null = null;
  closers.push(async () => {
    stopping.abort();
    await watcher?.stop();
    role.save();
  });
  return {
    primary: role,
    standby: null,
    index,
    position: () => role.sender.position,
    capture: () => ({
      watcher: watcher?.kind ?? 'none',
      watches: watcher?.stats().watches ?? 0,
      overflows: watcher?.stats().overflows ?? 0,
    }),
    fillTotal: () => total,
    linkError: () => listener?.lastError?.detail ?? null,
    async connect(link, pairing, ended) {
      listener = await startListener({
        ...link,
        onChannel: (channel, hello, address) => void role.serve(channel, hello, address).catch(ended),
        ...(pairing ? { pairing: (socket, address) => pairing.handle(socket, address) } : {}),
      });
      return listener;
    },
    start(ended) {
      role.start();
      role.run(stopping.signal, config.capture.rescanHours).catch(ended);
      if (!role.sender.filled) countFiles(realFiles, systemClock, roots, stopping.signal).then((files) => (total = files), ended);
    },
  };
}

export function startStandby(role: StandbyRole, index: ReplicaIndex): RunningRole {
  const stopping = new AbortController();
  let connector: ReturnType<typeof startConnector> | null = null;
  return {
    primary: null,
    standby: role,
    index,
    position: () => role.receiver.position,
    capture: () => ({ watcher: 'none', watches: 0, overflows: 0 }),
    fillTotal: () => null,
    linkError: () => connector?.lastError?.detail ?? null,
    async connect(link, _pairing, ended) {
      const started = startConnector({
        ...link,
        random: Math.random,
        ready: () => role.idle(),
        onChannel: (channel, hello, address) => void role.serve(channel, hello, address).catch(ended),
      });
      connector = started;
      return {
        port: 0,
        async stop() {
          stopping.abort();
          await started.stop();
          await role.idle();
        },
      };
    },
    start(ended) {
      role.run(stopping.signal).catch(ended);
    },
  };
}
