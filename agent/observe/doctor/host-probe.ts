import { execFile } from 'node:child_process';
import { accessSync, constants, opendirSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { release } from 'node:os';
import { pathToFileURL } from 'node:url';
import si from 'systeminformation';
import type { Config } from '../../config/config.ts';
import { errnoCode, joinPath, type BytePath } from '../../platform/files.ts';
import { readMounts } from './mounts.ts';
import type { DoctorProbe, Survey } from './probe.ts';

const connectMs = 3000;
const runMs = 3000;
const surveyMs = 3000;
const surveyEntriesMax = 1_000_000;
const unreadableMax = 5;

/** This host, as the doctor sees it. */
export function hostProbe(loadConfig: () => Config): DoctorProbe {
  const surveys = new Map<string, Survey>();
  return {
    loadConfig,
    wallMs: () => Date.now(),
    userId: () => process.geteuid?.() ?? 0,
    versions: () => ({ node: process.version, koffi: packageVersion('koffi'), lmdb: packageVersion('lmdb') }),
    async system() {
      const { distro, release: version } = await si.osInfo();
      return { os: `${distro} ${version}`.trim(), kernel: release() };
    },
    stat(path) {
      const stat = statSync(bytes(path), { throwIfNoEntry: false, bigint: true });
      return stat
        ? { directory: stat.isDirectory(), mode: Number(stat.mode) & 0o7777, uid: Number(stat.uid), dev: String(stat.dev) }
        : null;
    },
    space(path) {
      const fs = statfsSync(bytes(path));
      return { freeBytes: fs.bavail * fs.bsize, freeInodes: fs.ffree, totalInodes: fs.files };
    },
    mounts: async () => readMounts(readFileSync('/proc/self/mounts', 'utf8')),
    async addresses() {
      const interfaces = await si.networkInterfaces();
      return (Array.isArray(interfaces) ? interfaces : [interfaces])
        .flatMap(({ ip4, ip6 }) => [ip4, ip6])
        .filter((address) => address !== '');
    },
    readText(path) {
      try {
        return readFileSync(path, 'utf8');
      } catch {
        return null;
      }
    },
    run: (command, args) =>
      new Promise((resolve) => {
        execFile(command, [...args], { timeout: runMs, maxBuffer: 65_536 }, (error, out) => {
          if (errnoCode(error) === 'ENOENT') resolve(null);
          else resolve({ exitCode: error ? (typeof error.code === 'number' ? error.code : 1) : 0, out });
        });
      }),
    connect: (host, port) =>
      new Promise((resolve) => {
        const socket = connect({ host, port });
        const end = (result: string | null) => {
          socket.destroy();
          resolve(result);
        };
        socket.setTimeout(connectMs, () => end('ETIMEDOUT'));
        socket.once('connect', () => end(null));
        socket.once('error', (error) => end(errnoCode(error) ?? error.message));
      }),
    bind: (host, port) =>
      new Promise((resolve) => {
        const server = createServer();
        server.once('error', (error) => resolve(errnoCode(error) ?? error.message));
        server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
      }),
    survey(path) {
      // Several checks ask for the same tree.
      const known = surveys.get(path) ?? surveyTree(path);
      surveys.set(path, known);
      return known;
    },
  };
}

function bytes(path: BytePath): Buffer {
  return Buffer.from(path, 'latin1');
}

/** Reads the package.json above a package's entry, because `exports` hides it from a direct import. */
function packageVersion(name: string): string | null {
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve(name);
  } catch {
    return null;
  }
  let dir = new URL('.', pathToFileURL(entry));
  for (let up = 0; up < 5; up++, dir = new URL('..', dir)) {
    try {
      const found = JSON.parse(readFileSync(new URL('package.json', dir), 'utf8')) as { name?: string; version?: string };
      if (found.name === name && found.version !== undefined) return found.version;
    } catch {
      // Not here; further up.
    }
  }
  return null;
}

/** Walks a tree breadth first within bounds of time and number. */
function surveyTree(root: BytePath): Survey {
  const survey: Survey = { dirs: 0, files: 0, complete: true, unreadable: [] };
  const deadline = performance.now() + surveyMs;
  const blame = (path: BytePath) => void (survey.unreadable.length < unreadableMax && survey.unreadable.push(path));
  const pending: BytePath[] = [root];
  for (let i = 0; i < pending.length; i++) {
    const dir = pending[i] ?? root;
    let handle;
    try {
      handle = opendirSync(bytes(dir), { encoding: 'latin1' });
    } catch (error) {
      if (errnoCode(error) !== 'ENOENT') blame(dir);
      continue;
    }
    try {
      for (let entry = handle.readSync(); entry !== null; entry = handle.readSync()) {
        const path = joinPath(dir, entry.name);
        if (entry.isDirectory()) {
          survey.dirs++;
          pending.push(path);
        } else {
          survey.files++;
          if (entry.isFile() && !readable(path)) blame(path);
        }
      }
    } finally {
      handle.closeSync();
    }
    if (performance.now() > deadline || survey.dirs + survey.files > surveyEntriesMax) {
      survey.complete = i + 1 >= pending.length;
      return survey;
    }
  }
  return survey;
}

function readable(path: BytePath): boolean {
  try {
    accessSync(bytes(path), constants.R_OK);
    return true;
  } catch (error) {
    return errnoCode(error) === 'ENOENT';
  }
}
