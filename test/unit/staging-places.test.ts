import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Files } from '../../agent/platform/files.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { RootAway } from '../../agent/replicate/file-systems.ts';
import { chooseStaging } from '../../agent/replicate/staging.ts';

let base: string;
beforeEach(() => {
  base = mkdtempSync(`${tmpdir()}/mailtwin-staging-`);
  for (const dir of ['volume/mail', 'state']) mkdirSync(`${base}/${dir}`, { recursive: true });
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

/** Files of which those below the volume cannot be written, and of which none lead from the state directory there. */
function refusing(code: string): Files {
  const failure = (why: string) => Object.assign(new Error(why), { code: why });
  const mkdir: Files['mkdir'] = (path, mode) => {
    if (path.startsWith(`${base}/volume`)) throw failure(code);
    realFiles.mkdir(path, mode);
  };
  const rename: Files['rename'] = () => {
    throw failure('EXDEV');
  };
  return { ...realFiles, mkdir, rename };
}

const choose = (files: Files) => chooseStaging(files, { name: 'mail', path: `${base}/volume/mail` }, `${base}/state`, null);

describe('staging of a root on a disk that takes nothing', () => {
  it('waits while the file system is read-only, and is there when it is writable again', () => {
    expect(() => choose(refusing('EROFS'))).toThrow(RootAway);
    expect(() => choose(refusing('EROFS'))).toThrow('is read-only');
    expect(choose(realFiles)).toBe(`${base}/state/staging/mail`);
  });

  it('is a mistake where the agent may not write', () => {
    expect(() => choose(refusing('EACCES'))).toThrow(expect.objectContaining({ code: 'staging' }));
    expect(() => choose(refusing('EACCES'))).not.toThrow(RootAway);
  });
});
