import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ReplicaIndex } from '../../agent/journal/replica-index.ts';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import { systemClock } from '../../agent/platform/clock.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import type { Root } from '../../agent/replicate/root.ts';
import { checkParents } from '../../agent/replicate/standby/confine.ts';
import { checkForeign, noteForeign, type ForeignPolicy } from '../../agent/replicate/standby/startup.ts';
import { StepBlocked } from '../../agent/replicate/standby/steps.ts';

let dir: string;
let kv: Kv;
let root: Root;

beforeEach(() => {
  dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'mailtwin-startup-')));
  for (const name of ['mail', 'staging', 'staging/stage', 'staging/history', 'store']) fs.mkdirSync(path.join(dir, name));
  kv = openLmdbKv(path.join(dir, 'store'));
  root = { name: 'mail', path: `${dir}/mail`, format: formatByName('maildir'), staging: `${dir}/staging` };
});

afterEach(async () => {
  await kv.close();
  fs.rmSync(dir, { recursive: true, force: true });
});

const check = (policy: ForeignPolicy) => {
  const index = new ReplicaIndex(kv, { findByIdentity: false });
  return checkForeign({ files: realFiles, kv, clock: systemClock, index, roots: [root] }, policy);
};

describe('a standby', () => {
  it('refuses to start on files that it did not put there (I2)', async () => {
    expect(await check('refuse')).toEqual({ adopted: 0, movedAside: 0 });
    fs.mkdirSync(`${dir}/mail/cur`);
    fs.writeFileSync(`${dir}/mail/cur/1.x:2,S`, 'the only copy of a message');
    await expect(check('refuse')).rejects.toMatchObject({ code: 'foreign-files', exitCode: 3 });
    expect(fs.readFileSync(`${dir}/mail/cur/1.x:2,S`, 'utf8')).toBe('the only copy of a message');
  });

  it('that has batches of its primary starts all the same, and notes each of them (I2)', async () => {
    expect((await check('adopt')).adopted).toBe(0);
    fs.mkdirSync(`${dir}/mail/cur`);
    fs.writeFileSync(`${dir}/mail/cur/1.x:2,S`, 'ours');
    await check('adopt');
    fs.writeFileSync(`${dir}/mail/cur/2.x:2,S`, 'of a server that came up first');
    fs.mkdirSync(`${dir}/mail/new`);
    const noted: string[] = [];
    const index = new ReplicaIndex(kv, { findByIdentity: false });
    const parts = { files: realFiles, kv, clock: systemClock, index, roots: [root] };
    expect(await noteForeign(parts, (path) => void noted.push(path))).toBe(2);
    expect(noted.toSorted()).toEqual([`${dir}/mail/cur/2.x:2,S`, `${dir}/mail/new`]);
    expect(fs.readFileSync(`${dir}/mail/cur/2.x:2,S`, 'utf8')).toBe('of a server that came up first');
  });

  it('moves them aside when told to, with their paths', async () => {
    fs.mkdirSync(`${dir}/mail/cur`);
    fs.writeFileSync(`${dir}/mail/cur/1.x:2,S`, 'a');
    expect((await check('move-aside')).movedAside).toBe(1);
    expect(fs.readdirSync(`${dir}/mail`)).toEqual([]);
    const [aside = ''] = fs.readdirSync(`${dir}/staging`).filter((name) => name.startsWith('moved-aside-'));
    expect(fs.readFileSync(`${dir}/staging/${aside}/cur/1.x:2,S`, 'utf8')).toBe('a');
  });

  it('adopts them when told to, and then knows them', async () => {
    fs.mkdirSync(`${dir}/mail/cur`);
    fs.writeFileSync(`${dir}/mail/cur/1.x:2,S`, 'a');
    expect((await check('adopt')).adopted).toBe(2);
    expect(await check('refuse')).toEqual({ adopted: 0, movedAside: 0 });
  });
});

describe('a step', () => {
  const step = (at: string) => ({ do: 'discard' as const, path: `${dir}/mail/${at}`, ino: 1n, keep: null });

  it('goes through no directory that is a link (I11)', () => {
    fs.mkdirSync(`${dir}/outside`);
    fs.symlinkSync(`${dir}/outside`, `${dir}/mail/cur`);
    expect(() => checkParents(realFiles, [root], step('cur/1.x'), new Set())).toThrow('a symbolic link stands');
    fs.unlinkSync(`${dir}/mail/cur`);
    expect(() => checkParents(realFiles, [root], step('cur/1.x'), new Set())).toThrow(StepBlocked);
    fs.mkdirSync(`${dir}/mail/cur`);
    checkParents(realFiles, [root], step('cur/1.x'), new Set());
  });

  it('touches nothing outside of every root (I11)', () => {
    const outside = { do: 'discard' as const, path: `${dir}/mail-other/x`, ino: 1n, keep: null };
    expect(() => checkParents(realFiles, [root], outside, new Set())).toThrow('outside of every root');
  });
});
