import { chmodSync, chownSync, lutimesSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { runNow } from '../../lab/processes.ts';
import type { Random } from '../../../tools/mailgen/random.ts';

/** Beginning of the name of everything odd: each is judged by itself, and none may hold up anything else. */
export const oddPrefix = 'odd-';

const kinds: Record<string, (path: string) => void> = {
  'far future': (path) => (writeFileSync(path, 'x'), utimesSync(path, 10_413_792_000, 10_413_792_000)),
  'long ago': (path) => (writeFileSync(path, 'x'), utimesSync(path, -11_676_096_000, -11_676_096_000)),
  'no permission': (path) => (writeFileSync(path, 'x'), chmodSync(path, 0)),
  'last owner': (path) => (writeFileSync(path, 'x'), chownSync(path, 4_294_967_294, 4_294_967_294)),
  attributes: (path) => {
    writeFileSync(path, 'x');
    for (let i = 0; i < 8; i++) runNow('setfattr', ['-n', `user.${'n'.repeat(200)}${i}`, '-v', 'v'.repeat(200), path]);
  },
  acl: (path) => (writeFileSync(path, 'x'), runNow('setfacl', ['-m', 'u:4711:r', path])),
  'link out': (path) => symlinkSync('/usr/share/doc', path),
  'link nowhere': (path) => (symlinkSync('nowhere', path), lutimesSync(path, 1, 1)),
  'link to itself': (path) => symlinkSync(path, path),
  'long name': (path) => writeFileSync(path + 'n'.repeat(255 - path.slice(path.lastIndexOf('/') + 1).length), 'x'),
  'not UTF-8': (path) => writeFileSync(Buffer.concat([Buffer.from(path), Buffer.from([0xff, 0xfe, 0x0a])]), 'x'),
  socket: (path) => {
    const server = createServer().listen(path);
    server.once('listening', () => server.close());
  },
  fifo: (path) => runNow('mkfifo', [path]),
  'deep directory': (path) => mkdirSync(join(path, 'd'.repeat(200), 'e'.repeat(200), 'f'.repeat(200)), { recursive: true }),
  setuid: (path) => (writeFileSync(path, 'x'), chmodSync(path, 0o6755)),
};

/** Makes something odd in a directory and says what. The file system may refuse it: then nothing is there. */
export function makeOdd(dir: string, random: Random, number: number): string {
  const kind = random.pick(Object.keys(kinds));
  const path = join(dir, `${oddPrefix}${number}-${kind.replaceAll(' ', '-')}`);
  try {
    kinds[kind]?.(path);
    return kind;
  } catch (error) {
    rmSync(path, { recursive: true, force: true });
    return `${kind}, which was refused: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`;
  }
}
