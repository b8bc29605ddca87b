import { describe, expect, it } from 'vitest';
import { fileSystemName, sameDirectory, type DirectoryId, type NameSources } from '../../agent/platform/directory-id.ts';
import { mountPointsBelow, parseMountInfo } from '../../agent/platform/mounts.ts';

describe('the mounts of a host', () => {
  const mounts = parseMountInfo(
    [
      '21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro',
      '30 21 0:31 / /run/host ro,nosuid - tmpfs tmpfs rw',
      '31 21 8:17 / /srv/with\\040blank rw shared:3 master:1 - btrfs /dev/sdb1 rw,subvol=/',
      '32 31 8:17 /copy /srv/with\\040blank rw - btrfs /dev/sdb1 ro,subvol=/copy',
      '33 31 0:40 / /srv/with\\040blank/caf\xc3\xa9\\134 rw - nfs4 server:/export rw',
      '34 33 7:0 / /srv/with\\040blank/caf\xc3\xa9\\134/deep rw - xfs /dev/loop0 rw',
      '35 21 7:1 / /srv/with\\040blank-too rw - xfs /dev/loop1 rw',
      '',
      'half a line',
    ].join('\n'),
  );

  it('are each writable or not by its own line, also where several bear one name or hide each other', () => {
    const at = (path: string) => mounts.find((mount) => mount.at === path);
    expect(mounts).toHaveLength(7);
    expect([at('/')?.writable, at('/run/host')?.writable]).toEqual([true, false]);
    expect(at('/srv/with blank')).toMatchObject({ id: 32, type: 'btrfs', writable: false });
    expect(at('/srv/with blank/caf\xc3\xa9\\')).toMatchObject({ device: '0:40', type: 'nfs4', source: 'server:/export' });
  });

  it('below a directory are named relative to it, each once, outer ones first', () => {
    expect(mountPointsBelow(mounts, '/srv/with blank')).toEqual(['caf\xc3\xa9\\', 'caf\xc3\xa9\\/deep']);
    expect(mountPointsBelow(mounts, '/')).toContain('srv/with blank');
    expect(mountPointsBelow(mounts, '/srv/with blank/caf\xc3\xa9\\/deep')).toEqual([]);
  });
});

const ext4: DirectoryId = { type: 'ef53', fs: 'fsid:aa', device: '8:1', ino: '2', btimeNs: '0', mark: null };

describe('whether a directory is the one that was known', () => {
  it.each([
    ['itself under another device number', ext4, { ...ext4, device: '8:33' }, true],
    ['another file system of the type, without birth times', ext4, { ...ext4, fs: 'fsid:bb' }, false],
    ['another type of file system', ext4, { ...ext4, type: '58465342' }, false],
    ['another directory of the file system', ext4, { ...ext4, ino: '3' }, false],
    ['a directory that took the inode number', { ...ext4, btimeNs: '5' }, { ...ext4, btimeNs: '6' }, false],
    ['one that tells its birth time only now', ext4, { ...ext4, btimeNs: '6' }, true],
    ['one without its mark, on a file system that tells no birth times', { ...ext4, mark: 'm' }, ext4, false],
    ['a nameless one by its birth time', { ...ext4, fs: '', btimeNs: '5' }, { ...ext4, fs: '', btimeNs: '5', device: '8:33' }, true],
    ['a nameless one without birth time on another device', { ...ext4, fs: '' }, { ...ext4, fs: '', device: '8:33' }, false],
    ['one whose name comes from elsewhere', { ...ext4, btimeNs: '5' }, { ...ext4, fs: 'uuid:x', btimeNs: '5' }, true],
  ] as const)('%s', (_, known, now, same) => {
    expect(sameDirectory(known, now)).toBe(same);
  });
});

describe('the name of a file system', () => {
  const from: NameSources = { uuid: () => null, deviceUuid: () => null, source: () => 'server:/x', bootId: () => 'boot1' };

  it('is what is stored in it, never its device number', () => {
    expect(fileSystemName({ type: 'ef53', fsid: 'dc' }, '8:1', from)).toBe('fsid:dc');
    expect(fileSystemName({ type: '58465342', fsid: '70000000000' }, '7:0', { ...from, uuid: () => 'abcd' })).toBe('uuid:abcd');
    expect(fileSystemName({ type: '4d44', fsid: '801' }, '8:1', { ...from, deviceUuid: () => '12AB-34CD' })).toBe('device-uuid:12AB-34CD');
    expect(fileSystemName({ type: '4d44', fsid: '801' }, '8:1', from)).toBe('');
  });

  it('ends with the mount for what is kept in memory, and is the server for what is elsewhere', () => {
    expect(fileSystemName({ type: '1021994', fsid: 'f0' }, '0:39', from)).toBe('boot:boot1/0:39/f0');
    expect(fileSystemName({ type: '6969', fsid: '0' }, '0:40', from)).toBe('source:server:/x');
  });
});
