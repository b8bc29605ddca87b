import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/platform/clock.ts';
import { DiskReader } from '../../agent/platform/disk-reader.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { diskScrubReader, filesReader, type ScrubReader } from '../../agent/replicate/scrub/reading.ts';

const rate = 1e9;
const sha = (data: Buffer | string) => createHash('sha256').update(data).digest().subarray(0, 16).toString('hex');

describe.each<[string, () => ScrubReader]>([
  ['on a thread, from the disk', () => diskScrubReader(realFiles, new DiskReader())],
  ['in place', () => filesReader(realFiles, systemClock)],
])('reading %s', (_, make) => {
  let dir = '';
  let reader: ScrubReader;
  beforeEach(() => {
    dir = fs.mkdtempSync(join(os.tmpdir(), 'mailtwin-read-'));
    reader = make();
  });
  afterEach(async () => {
    await reader.close();
    fs.rmSync(dir, { recursive: true });
  });

  it.each([0, 1, 4096, 300_001, 1024 * 1024, 2 * 1024 * 1024 + 17])(
    'gives the content and the stat of a file of %i bytes',
    async (size) => {
      const data = Buffer.alloc(size, 'content of some length ');
      const path = join(dir, 'gr\xfc\xdfe');
      fs.writeFileSync(Buffer.from(path, 'latin1'), data);
      const reading = await reader.read(path, rate);
      expect(reading?.content?.toString('hex')).toBe(sha(data));
      expect(reading?.bytes).toBe(size);
      const stat = realFiles.lstat(path);
      expect(reading?.stat).toMatchObject({ ino: stat?.ino, size, mtimeNs: stat?.mtimeNs, ctimeNs: stat?.ctimeNs });
      expect(reading?.error).toBeNull();
    },
  );

  it('gives nothing where no file is, of a directory, and through no link', async () => {
    fs.writeFileSync(join(dir, 'file'), 'file');
    fs.symlinkSync('file', join(dir, 'link'));
    for (const name of ['missing', '', 'link', 'file/below']) expect(await reader.read(join(dir, name), rate)).toBeNull();
    expect((await reader.read(join(dir, 'file'), rate))?.content?.toString('hex')).toBe(sha('file'));
  });

  it('can be used again after it was closed', async () => {
    fs.writeFileSync(join(dir, 'file'), 'file');
    expect(await reader.read(join(dir, 'file'), rate)).not.toBeNull();
    await reader.close();
    expect((await reader.read(join(dir, 'file'), rate))?.content?.toString('hex')).toBe(sha('file'));
  });
});
