import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import type { Status } from '../../protocol/control.ts';
import { waitFor } from '../lab/waiting.ts';
import { SmallPair, type SmallNode } from '../lab/small-pair.ts';

function makeMailbox(path: string, messages: number): void {
  for (const part of ['cur', 'new', 'tmp']) mkdirSync(`${path}/${part}`, { recursive: true });
  for (let n = 0; n < messages; n++) writeFileSync(`${path}/new/1795000000.M${n}P1.host`, `message ${n}\n`);
}

async function filled(pair: SmallPair): Promise<void> {
  await pair.primary.start();
  await pair.introduce();
  await pair.standby.start();
  await pair.settled();
}

const heldCodes = ({ replication }: Status) => replication.heldPlaces.map(({ code, path }) => `${code} ${path}`);

it('a domain behind a link stays on the standby by name, over restarts, until it is back (I22)', async () => {
  await using pair = await SmallPair.create({ format: 'maildir' });
  const { primary, standby } = pair;
  makeMailbox(`${primary.root}/example.com/u1`, 4);
  makeMailbox(`${primary.root}/example.org/u2`, 4);
  mkdirSync(`${primary.root}/example.org/u2/sieve`);
  writeFileSync(`${primary.root}/example.org/u2/sieve/away.sieve`, 'keep;\n');
  symlinkSync(`${primary.root}/example.org/u2/sieve/away.sieve`, `${primary.root}/example.org/u2/.dovecot.sieve`);
  await filled(pair);
  // The roots have other paths on the two nodes: the link leads to the same place.
  expect(readlinkSync(`${standby.root}/example.org/u2/.dovecot.sieve`)).toBe(`${standby.root}/example.org/u2/sieve/away.sieve`);
  expect((await primary.cli('verify', '--deep')).code).toBe(0);

  const disk2 = `${primary.volume}/disk2`;
  mkdirSync(disk2);
  // A directory that is gone while it is looked at is another thing.
  primary.atOnce(() => {
    renameSync(`${primary.root}/example.com`, `${disk2}/example.com`);
    symlinkSync(`${disk2}/example.com`, `${primary.root}/example.com`);
  });
  await primary.until('the hold', (s) => heldCodes(s).includes('left-out example.com'));
  writeFileSync(`${primary.root}/example.org/u2/new/1795000000.M9P1.host`, 'flows\n');
  await pair.settled();

  const seen = async (node: SmallNode) => {
    const status = await node.status();
    expect(readdirSync(`${standby.root}/example.com/u1/new`)).toHaveLength(4);
    return status;
  };
  const said = await primary.cli('verify');
  expect([said.code, said.stdout]).toEqual([5, expect.stringContaining(`example.com -> ${disk2}/example.com`)]);
  expect((await primary.status()).lastVerify).toMatchObject({ result: 'incomplete', differences: 0, leftOut: 1 });
  await standby.until('the word of the verification', (s) => s.lastVerify?.result === 'incomplete');
  // Its next heartbeat brings the number.
  await waitFor('a verification of the standby that names it', 60_000, async () => (await standby.cli('verify')).code === 5);
  const doctor = await primary.cli('doctor');
  expect(doctor.stdout.replaceAll(/\s+/g, ' ')).toContain(`path: ${disk2}/example.com, format: maildir }`);
  const asked = await primary.cli('allow-delete');
  expect([asked.code, asked.stdout]).toEqual([3, expect.stringContaining('mail/example.com')]);
  expect((await primary.cli('allow-delete', 'mail/example.org')).code).toBe(3);

  // The link is taken away while no agent runs: the directory is about to come back.
  await primary.stop();
  await standby.kill();
  rmSync(`${primary.root}/example.com`);
  await standby.start();
  await primary.start();
  await pair.settled();
  expect(heldCodes(await seen(primary))).toEqual(['left-out example.com']);
  expect((await primary.cli('verify')).code).toBe(5);

  makeMailbox(`${disk2}/example.com/u1`, 6);
  renameSync(`${disk2}/example.com`, `${primary.root}/example.com`);
  await primary.until('the end of the hold', (s) => heldCodes(s).length === 0 && s.warnings.length === 0);
  await pair.settled();
  expect(readdirSync(`${standby.root}/example.com/u1/new`)).toHaveLength(6);
  expect((await primary.cli('verify', '--deep')).code).toBe(0);
});

it('excluded paths are left out: indexes leave the copy, anything else stays until it is named', async () => {
  await using pair = await SmallPair.create({ format: 'maildir' });
  const { primary, standby } = pair;
  const written = readFileSync(primary.configFile, 'utf8');
  expect(written).toContain('      - fts-flatcurve/\n');
  // As an older release had it: nothing is excluded.
  const exclude = (node: SmallNode, patterns: string) =>
    writeFileSync(
      node.configFile,
      readFileSync(node.configFile, 'utf8').replace(/ {4}exclude:.*\n( {6}- .*\n)*/, `    exclude: ${patterns}\n`),
    );
  for (const node of [primary, standby]) exclude(node, '[]');
  const box = `${primary.root}/example.com/u1`;
  makeMailbox(box, 3);
  mkdirSync(`${box}/fts-flatcurve/current`, { recursive: true });
  writeFileSync(`${box}/fts-flatcurve/current/termlist.glass`, 'x'.repeat(5000));
  mkdirSync(`${box}/old`);
  writeFileSync(`${box}/old/letters.mbox`, 'From a\n');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${box}/socket`, resolve));
  await filled(pair);
  expect(existsSync(`${standby.root}/example.com/u1/fts-flatcurve/current/termlist.glass`)).toBe(true);

  const patterns = '["fts-flatcurve/", "/example.com/*/old"]';
  exclude(primary, patterns);
  await primary.stop();
  await primary.start();
  await primary.until('a warning that the lists differ', (s) => s.warnings.some(({ code }) => code === 'exclude-differs'));
  await standby.until('the same on the standby', (s) => s.warnings.some(({ code }) => code === 'exclude-differs'));
  exclude(standby, patterns);
  await standby.stop();
  await standby.start();
  await pair.settled();
  await primary.until('the lists to be the same', (s) => !s.warnings.some(({ code }) => code === 'exclude-differs'));

  expect(existsSync(`${standby.root}/example.com/u1/fts-flatcurve`)).toBe(false);
  expect(existsSync(`${standby.root}/example.com/u1/old/letters.mbox`)).toBe(true);
  writeFileSync(`${box}/fts-flatcurve/current/docdata.glass`, 'new');
  writeFileSync(`${box}/old/more.mbox`, 'From b\n');
  writeFileSync(`${box}/new/1795000000.M9P1.host`, 'flows\n');
  await pair.settled();
  expect(readdirSync(`${standby.root}/example.com/u1/old`)).toEqual(['letters.mbox']);
  expect(existsSync(`${standby.root}/example.com/u1/fts-flatcurve`)).toBe(false);
  const { leftOut } = await primary.status();
  expect(Object.fromEntries(leftOut.map(({ reason, count, kept }) => [reason, [count, kept]]))).toEqual({
    derived: [1, 0],
    excluded: [1, 1],
    special: [1, 0],
  });
  expect((await primary.cli('verify')).code).toBe(5);

  expect((await primary.cli('allow-delete', 'mail/example.com/u1/old')).code).toBe(0);
  await primary.until('the copy to be gone', () => !existsSync(`${standby.root}/example.com/u1/old`));
  await pair.settled();
  // A socket and what is excluded are there by design.
  const clean = await primary.cli('verify', '--deep');
  expect([clean.code, clean.stdout]).toEqual([0, expect.stringContaining('left out by design')]);
  await new Promise<void>((resolve) => server.close(() => resolve()));
});
