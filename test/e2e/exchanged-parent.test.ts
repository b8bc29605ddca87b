import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { exchange } from '../lab/exchange.ts';
import { SmallPair, type SmallNode } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const exchangesMax = 50_000_000;
const rounds = 12;
const filesARound = 25;
const changesOfOne = 40;
const secret = 'what is outside';
const names = Array.from({ length: filesARound }, (_, i) => `f${i}`);

/** Beside a node's root: a directory that looks like the one in the root, and a link to it. */
function makeOutside(node: SmallNode): { dir: string; lead: string; outside: string } {
  const [outside, lead] = [join(node.volume, 'outside'), join(node.volume, 'lead')];
  fs.mkdirSync(join(outside, 'sub'), { recursive: true });
  for (const name of names) for (const at of [name, `sub/${name}`]) fs.writeFileSync(join(outside, at), secret);
  fs.symlinkSync(outside, lead);
  return { dir: join(node.root, 'dir'), lead, outside };
}

/** Everything below a directory with what can be seen of it. */
function everything(dir: string): string[] {
  return fs
    .readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .toSorted()
    .map((name) => {
      const { ino, mode, uid, gid, mtimeNs, ctimeNs, nlink } = fs.lstatSync(join(dir, name), { bigint: true });
      return [name, ino, mode, uid, gid, mtimeNs, ctimeNs, nlink].join(' ');
    });
}

function filesWithSecret(dir: string): string[] {
  return fs
    .readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && read(join(entry.parentPath, entry.name)) === secret)
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Changes of each kind in the directory, one beside it a round; `dir` leads there whoever exchanges its name. */
async function work({ primary, standby }: SmallPair, dir: string, part: string): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const [i, name] of names.entries()) {
      const text = `${part} ${round} ${i} `.repeat(1 + (i % 50));
      if (i % 5 === 0) fs.rmSync(join(dir, name), { force: true });
      else if (i % 5 === 1) fs.renameSync(join(dir, name), join(dir, 'sub', name));
      else fs.writeFileSync(join(dir, name), text);
      if (i % 5 < 2) fs.writeFileSync(join(dir, name), text);
      if (i % 7 === 0) fs.chmodSync(join(dir, name), round % 2 === 0 ? 0o640 : 0o600);
    }
    fs.rmSync(join(dir, `made-${part}-${round - 1}`), { recursive: true, force: true });
    fs.mkdirSync(join(dir, `made-${part}-${round}`));
    fs.writeFileSync(join(dir, `made-${part}-${round}`, 'x'), 'x');
    fs.writeFileSync(join(primary.root, `beside-${part}`), String(round));
    // Whatever becomes of the directory, what is beside it flows.
    await waitFor('what is beside the directory', 60_000, () =>
      Promise.resolve(read(join(standby.root, `beside-${part}`)) === String(round) ? true : null),
    );
  }
}

/** Null when it is not there: an agent at work removes what it has staged at any moment. */
function read(file: string): string | null {
  try {
    return fs.readFileSync(file, 'latin1');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return null;
  }
}

async function exchanging(dir: string, lead: string): Promise<ChildProcess> {
  const script = join(import.meta.dirname, '../lab/exchanger.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', script, dir, lead, String(exchangesMax)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

it('an agent is led nowhere by who exchanges a directory for a link without pause, on either node, and the rest flows (I11, I20)', async () => {
  await using pair = await SmallPair.create({ ...(fs.existsSync('/dev/shm') ? { base: '/dev/shm' } : {}) });
  const { primary, standby } = pair;
  fs.mkdirSync(join(primary.root, 'dir/sub'), { recursive: true });
  for (const name of names) fs.writeFileSync(join(primary.root, 'dir', name), 'inside');
  await primary.start();
  await pair.introduce();
  await standby.start();
  await pair.settled();
  for (const node of [standby, primary]) {
    const { dir, lead, outside } = makeOutside(node);
    const before = everything(outside);
    // The owner works in his directory, whatever its name leads to just then.
    const owners = fs.openSync(join(primary.root, 'dir'), 'r');
    const child = await exchanging(dir, lead);
    try {
      await work(pair, `/proc/self/fd/${owners}`, node.name);
      // It went on all the time.
      expect(child.exitCode).toBeNull();
    } finally {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
      fs.closeSync(owners);
      if (fs.lstatSync(dir).isSymbolicLink()) exchange(dir, lead);
    }
    expect(everything(outside)).toEqual(before);
    expect([standby.root, standby.state].flatMap(filesWithSecret)).toEqual([]);
    // What a link kept from its place is tried again by itself; what was sent again and again is mended by one comparison of both disks.
    await primary.until('nothing in doubt', ({ replication }) => replication.unproven.length === 0);
    await primary.cli('verify', '--deep');
    await pair.settled();
    await primary.ok('verify', '--deep');
    expect(fs.readFileSync(join(standby.root, 'dir/f3'), 'utf8')).toBe(fs.readFileSync(join(primary.root, 'dir/f3'), 'utf8'));
  }
});

it('what somebody else has in a directory is not given to who owns that, however he exchanges its name with one that changes (I11)', async () => {
  await using pair = await SmallPair.create({ ...(fs.existsSync('/dev/shm') ? { base: '/dev/shm' } : {}) });
  const { primary, standby } = pair;
  const [told, theirs] = [join(standby.root, 'dir/told'), join(standby.root, 'dir/theirs')];
  fs.mkdirSync(join(primary.root, 'dir'), { recursive: true });
  fs.writeFileSync(join(primary.root, 'dir/told'), 'inside');
  await primary.start();
  await pair.introduce();
  await standby.start();
  await pair.settled();
  fs.writeFileSync(theirs, secret, { mode: 0o600 });
  const held = fs.openSync(theirs, 'r');
  const attributes = () => {
    const { uid, gid, mode, mtimeNs } = fs.fstatSync(held, { bigint: true });
    return [uid, gid, mode, mtimeNs].map(String);
  };
  const before = attributes();
  const child = await exchanging(told, theirs);
  try {
    for (let round = 0; round < changesOfOne; round++) {
      fs.chmodSync(join(primary.root, 'dir/told'), round % 2 === 0 ? 0o644 : 0o640);
      fs.utimesSync(join(primary.root, 'dir/told'), 1_600_000_000, 1_600_000_000 + round);
      await pair.settled();
      expect(child.exitCode).toBeNull();
    }
  } finally {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
  }
  expect(attributes()).toEqual(before);
  if (fs.statSync(told).ino === fs.fstatSync(held).ino) exchange(told, theirs);
  fs.closeSync(held);
  fs.rmSync(theirs);
  await primary.cli('verify', '--deep');
  await pair.settled();
  await primary.ok('verify', '--deep');
  expect(fs.statSync(told).mode).toBe(fs.statSync(join(primary.root, 'dir/told')).mode);
});
