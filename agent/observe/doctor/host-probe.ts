import { execFile } from 'node:child_process';
import { opendirSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { lookup } from 'node:dns/promises';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { networkInterfaces, release } from 'node:os';
import { pathToFileURL } from 'node:url';
import si from 'systeminformation';
import type { Config } from '../../config/config.ts';
import { errnoCode } from '../../platform/files.ts';
import { keepsXattrs } from '../../platform/xattrs.ts';
import { readCertificate } from '../../platform/certificate-file.ts';
import { bytes, ownersOf, secretFile, surveyTree, treeBytes } from './host-files.ts';
import { parseMountInfo } from '../../platform/mounts.ts';
import type { DoctorProbe, NodeReadings, Survey } from './probe.ts';

const connectMs = 3000;
const runMs = 3000;
const listMax = 500;
const textBytesMax = 256 * 1024;

/** How long a look at a whole tree may take. In the agent this is time in which it does nothing else. */
export interface SurveyBounds {
  surveyMs: number;
  ownersMs: number;
  /** 0: trees are not measured at all. */
  treeBytesMs: number;
}

/** For a command, which has nothing else to do. */
export const commandBounds: SurveyBounds = { surveyMs: 3000, ownersMs: 300, treeBytesMs: 2000 };
/** For the agent: enough to see that a root is there, not empty, and readable at its top. */
export const agentBounds: SurveyBounds = { surveyMs: 15, ownersMs: 15, treeBytesMs: 0 };

/** This host, as the doctor sees it. */
export function hostProbe(
  loadConfig: () => Config,
  node: (config: Config) => NodeReadings,
  bounds: SurveyBounds = commandBounds,
): DoctorProbe {
  const surveys = new Map<string, Survey>();
  return {
    loadConfig,
    node,
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
        ? {
            directory: stat.isDirectory(),
            mode: Number(stat.mode) & 0o7777,
            uid: Number(stat.uid),
            gid: Number(stat.gid),
            dev: String(stat.dev),
          }
        : null;
    },
    space(path) {
      const fs = statfsSync(bytes(path));
      return { freeBytes: fs.bavail * fs.bsize, freeInodes: fs.ffree, totalInodes: fs.files };
    },
    mounts: async () => parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8')),
    addresses: () =>
      Object.entries(networkInterfaces()).flatMap(([device, all]) =>
        (all ?? []).map(({ address, cidr }) => ({ device, address, length: Number(cidr?.split('/')[1] ?? Number.NaN) })),
      ),
    async resolve(host) {
      try {
        return (await lookup(host, { all: true })).map(({ address }) => address);
      } catch {
        return [];
      }
    },
    readText(path) {
      try {
        return readFileSync(path, 'utf8').slice(0, textBytesMax);
      } catch {
        return null;
      }
    },
    list: listNames,
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
      const known = surveys.get(path) ?? surveyTree(path, bounds.surveyMs);
      surveys.set(path, known);
      return known;
    },
    treeBytes: (path) => (bounds.treeBytesMs === 0 ? null : treeBytes(path, bounds.treeBytesMs)),
    owners: (path) => ownersOf(path, bounds.ownersMs),
    keepsXattrs,
    secretFile,
    certificate: readCertificate,
  };
}

function listNames(path: string): string[] {
  const names: string[] = [];
  try {
    const handle = opendirSync(path);
    try {
      for (let entry = handle.readSync(); entry !== null && names.length < listMax; entry = handle.readSync()) names.push(entry.name);
    } finally {
      handle.closeSync();
    }
  } catch {
    // Not there, or not for this user.
  }
  return names.toSorted();
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
