import fs from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type { BytePath } from '../platform/files.ts';
import { errnoCode } from '../platform/files.ts';
import { parseFanotifyEvents } from './fanotify-events.ts';
import { FanotifyHints, type Reading } from './fanotify-hints.ts';
import { pathOfHandle, waitReadable } from './fanotify-native.ts';
import type { RealRoot } from './root-paths.ts';

/** What the watcher hands to its thread. Descriptors belong to the watcher. */
export interface FanotifyWorkerData {
  fanotifyFd: number;
  /** Readable when the thread shall end. */
  stopFd: number;
  roots: readonly RealRoot[];
  /** Descriptors of directories, one for each mount in use, by file system id (latin1). */
  mounts: readonly { fsid: string; fd: number }[];
  barrierDir: string;
  pid: number;
  /** Cells of FLOW, shared. */
  flow: Int32Array;
}

/** Cells by which the watcher slows the thread down. */
export const FLOW = { posted: 0, consumed: 1, stopping: 2, paused: 3, cells: 4 } as const;

/** Readings that the watcher has not consumed yet; beyond it events wait in the kernel's own bounded queue. */
const READINGS_AHEAD_MAX = 8;

const READ_BYTES = 128 * 1024;

function run(data: FanotifyWorkerData, post: (reading: Reading) => void): void {
  const { fanotifyFd, stopFd, flow } = data;
  const hints = new FanotifyHints(data.roots, data.barrierDir, data.pid, (dir) => resolve(data.mounts, dir));
  const buffer = Buffer.alloc(READ_BYTES);
  while (waitReadable(fanotifyFd, stopFd)) {
    if (!waitForRoom(flow)) return;
    const length = readEvents(fanotifyFd, buffer);
    if (length === 0) continue;
    const reading = hints.read(parseFanotifyEvents(buffer, length));
    if (reading.hints.length === 0 && reading.markers.length === 0) continue;
    Atomics.add(flow, FLOW.posted, 1);
    post(reading);
  }
}

/** The descriptor does not block: what poll saw may be gone when read comes. */
function readEvents(fd: number, buffer: Buffer): number {
  try {
    return fs.readSync(fd, buffer, 0, buffer.length, null);
  } catch (error) {
    if (errnoCode(error) === 'EAGAIN' || errnoCode(error) === 'EINTR') return 0;
    throw error;
  }
}

/** False when the thread shall end. */
function waitForRoom(flow: Int32Array): boolean {
  for (;;) {
    if (Atomics.load(flow, FLOW.stopping) !== 0) return false;
    const consumed = Atomics.load(flow, FLOW.consumed);
    const ahead = Atomics.load(flow, FLOW.posted) - consumed;
    if (ahead < READINGS_AHEAD_MAX && Atomics.load(flow, FLOW.paused) === 0) return true;
    Atomics.wait(flow, FLOW.consumed, consumed);
  }
}

function resolve(mounts: FanotifyWorkerData['mounts'], dir: string): BytePath[] {
  const paths: BytePath[] = [];
  for (const mount of mounts) {
    if (!dir.startsWith(mount.fsid)) continue;
    const path = pathOfHandle(mount.fd, dir);
    if (path === null) return [];
    if (!paths.includes(path)) paths.push(path);
  }
  return paths;
}

const port = parentPort;
if (port !== null) run(workerData as FanotifyWorkerData, (reading) => port.postMessage(reading));
