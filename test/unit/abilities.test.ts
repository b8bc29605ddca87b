import { describe, expect, it } from 'vitest';
import type { NodeAbilities, RootAbilities } from '../../protocol/abilities.ts';
import { compareAbilities, seeAbilities, tryAbilities } from '../../agent/replicate/abilities.ts';
import { coarseNs, timesAgree } from '../../agent/replicate/times.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimDisk } from '../sim/sim-disk.ts';
import { SimRandom } from '../sim/sim-random.ts';

const able: RootAbilities = {
  root: 'mail',
  timeStepNs: 1,
  timeMinSec: -(2 ** 40),
  timeMaxSec: 2 ** 40,
  acls: true,
  attributes: true,
  foldsCase: false,
  normalises: false,
  nameBytesMax: 255,
};
const node = (change: Partial<RootAbilities> = {}, more: Partial<NodeAbilities> = {}): NodeAbilities => ({
  roots: [{ ...able, ...change }],
  anyOwner: true,
  selinux: 'off',
  owners: [],
  ...more,
});
const compared = (primary: NodeAbilities, standby: NodeAbilities) =>
  compareAbilities(primary, standby, { primary: 'mail-a', standby: 'mail-b' }).map(({ code }) => code);

describe('what two file systems can do', () => {
  it('is the same where the standby can do all that the primary can', () => {
    expect(compared(node(), node())).toEqual([]);
    expect(compared(node({ acls: false, timeStepNs: 1_000_000_000, foldsCase: true }), node())).toEqual([]);
  });

  it.each([
    ['time-step', { timeStepNs: 1_000_000_000 }],
    ['time-range', { timeMaxSec: 2 ** 31 - 1 }],
    ['acls', { acls: false }],
    ['attributes', { attributes: false }],
    ['case', { foldsCase: true }],
    ['normalisation', { normalises: true }],
    ['name-length', { nameBytesMax: 143 }],
  ] as const)('%s of the standby is said', (code, change) => {
    expect(compared(node(), node(change))).toEqual([code]);
  });

  it('names of the numbers are compared, and owners that cannot be given, and labels', () => {
    const owners = (name: string | null) => [{ kind: 'user' as const, id: 5000, name }];
    expect(compared(node({}, { owners: owners('vmail') }), node({}, { owners: owners('vmail') }))).toEqual([]);
    expect(compared(node({}, { owners: owners('vmail') }), node({}, { owners: owners('backup') }))).toEqual(['owner-names']);
    expect(compared(node({}, { owners: owners('vmail') }), node({}, { owners: owners(null) }))).toEqual(['owner-names']);
    expect(compared(node({}, { owners: owners(null) }), node({}, { owners: owners('backup') }))).toEqual([]);
    expect(compared(node(), node({}, { anyOwner: false, selinux: 'enforcing' }))).toEqual(['any-owner', 'selinux']);
  });

  it('is tried beside the root, and nothing stays behind', () => {
    const disk = new SimDisk(new SimRandom(1), { timesNs: 1_000_000_000n, fold: (name) => name.toLowerCase() });
    const files = disk.open(new SimClock().host(1_700_000_000_000));
    files.mkdir('/stage', 0o700);
    disk.refuses = ({ what }) => (what === 'xattrs' ? 'EOPNOTSUPP' : null);
    expect(tryAbilities(files, 'mail', '/stage')).toMatchObject({
      timeStepNs: 1_000_000_000,
      acls: false,
      attributes: false,
      foldsCase: true,
      nameBytesMax: 255,
    });
    expect(files.readdir('/stage')).toEqual([]);
  });

  it('is seen of a primary without writing there', () => {
    const disk = new SimDisk(new SimRandom(1));
    const files = disk.open(new SimClock().host(1_700_000_000_000));
    files.mkdir('/mail', 0o700);
    files.writeFile('/mail/Box', 'x');
    files.setMeta('/mail/Box', { uid: 5000, gid: 50 });
    const writes: string[] = [];
    disk.listeners.add(({ path }) => writes.push(path));
    const { abilities, owners } = seeAbilities(files, { name: 'mail', path: '/mail' }, { acls: true, attributes: true });
    expect(abilities).toMatchObject({ timeStepNs: 1, foldsCase: false, normalises: null });
    expect(owners).toContainEqual({ kind: 'user', id: 5000 });
    expect(owners).toContainEqual({ kind: 'group', id: 50 });
    expect(writes).toEqual([]);
  });
});

describe('times that a file system cuts', () => {
  const ns = 1_700_000_000_123_456_789n;
  it.each([
    ['in nanoseconds', ns, ns + 7n, true],
    ['in seconds', 1_700_000_000_000_000_000n, 1_700_000_009_000_000_000n, true],
    ['in two seconds', 1_700_000_000_000_000_000n, 1_700_000_010_000_000_000n, true],
    ['in microseconds', 1_700_000_000_123_456_000n, 1_700_000_009_654_321_000n, true],
    ['to a second by somebody, on a disk that keeps nanoseconds', 1_700_000_000_000_000_000n, 1_700_000_009_654_321_987n, false],
    ['to another second', 1_700_000_001_000_000_000n, 1_700_000_009_000_000_000n, false],
  ])('%s', (_, mtimeNs, ctimeNs, agree) => {
    expect(timesAgree(ns, { mtimeNs, ctimeNs })).toBe(agree);
  });

  it('before 1970 too', () => {
    expect(timesAgree(-1_500_000_000n, { mtimeNs: -2_000_000_000n, ctimeNs: 3_000_000_000n })).toBe(true);
  });

  it('leave room for a change that does not show', () => {
    expect(coarseNs({ mtimeNs: ns, ctimeNs: ns })).toBe(0n);
    expect(coarseNs({ mtimeNs: 5_000_000_000n, ctimeNs: ns })).toBe(0n);
    expect(coarseNs({ mtimeNs: 5_000_000_000n, ctimeNs: 6_000_000_000n })).toBe(2_000_000_000n);
  });
});
