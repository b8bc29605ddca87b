import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { flatten } from '../../tools/cli/command-facts.ts';
import { describeCommands } from '../../tools/cli/program.ts';
import { bashCompletion } from '../../tools/cli/completion/bash.ts';
import { fishCompletion } from '../../tools/cli/completion/fish.ts';
import { zshCompletion } from '../../tools/cli/completion/zsh.ts';
import { manPage } from '../../tools/package/man-page.ts';
import { nativeNeeds } from '../../tools/package/native-files.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-package-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const commands = describeCommands('1.2.3');
const deb = (name: string) => fileURLToPath(new URL(`../../deploy/deb/${name}`, import.meta.url));

describe('the completions', () => {
  const file = join(dir, 'bash');
  writeFileSync(file, bashCompletion(commands));
  /** What a real bash offers for the last word of a command line. */
  const offered = (...words: string[]): string[] => {
    const script = `source ${file}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mailtwin; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execFileSync('bash', ['-c', script, 'bash', 'mailtwin', ...words], { encoding: 'utf8' })
      .split('\n')
      .filter((word) => word !== '');
  };

  it('offer the commands, and those below a command', () => {
    expect(offered('switch')).toEqual(['switchover']);
    expect(offered('nics', '')).toEqual(['identify', 'assign', 'swap']);
    expect(offered('fence', 't')).toEqual(['test']);
  });

  it('offer the options of the command that was typed, and nothing of others', () => {
    expect(offered('failover', '--acc')).toEqual(['--accept-loss']);
    expect(offered('switchover', '--acc')).toEqual([]);
    expect(offered('nics', 'identify', '--')).toEqual(['--blink', '--seconds', '--help']);
  });

  it('offer files and words where a value is wanted', () => {
    expect(offered('init', '--role', '')).toEqual(['primary', 'standby']);
    expect(offered('switchover', '--apply', '/etc/host')).toContain('/etc/hosts');
    expect(offered('switchover', '--confirm', '')).toEqual([]);
    expect(offered('rejoin', '--override', '')).toEqual(['unsalvaged']);
    expect(offered('failover', '--override', 'disk')).toEqual(['disk-space']);
    expect(offered('explain', 'peer-l')).toEqual(['peer-lost']);
    expect(offered('completion', '')).toEqual(['bash', 'zsh', 'fish']);
    expect(offered('plan', 'show', '/etc/host')).toContain('/etc/hosts');
  });

  it('offer roles and ports as the agent has them', () => {
    const stub = join(dir, 'stub');
    mkdirSync(stub, { recursive: true });
    writeFileSync(join(stub, 'mailtwin'), '#!/bin/sh\n[ "$*" = "completion words roles" ] && printf "lan\\ndmz\\n" || echo eno1\n', {
      mode: 0o755,
    });
    const before = process.env['PATH'];
    process.env['PATH'] = `${stub}:${before}`;
    try {
      expect(offered('nics', 'assign', '')).toEqual(['lan', 'dmz']);
      expect(offered('nics', 'assign', 'lan', '')).toEqual(['eno1']);
      expect(offered('nics', 'swap', 'lan', 'd')).toEqual(['dmz']);
    } finally {
      process.env['PATH'] = before;
    }
  });

  it('have every command and option for fish, and nothing that ends a quote', () => {
    const text = fishCompletion(commands);
    for (const { path, options } of flatten(commands)) {
      if (path.length > 0) expect(text).toContain(` -a ${path.at(-1)} -d `);
      for (const { names } of options) expect(text).toContain(` -l ${names.at(-1)?.slice(2)}`);
    }
    const { status, stderr } = spawnSync('fish', ['--no-execute'], { input: text, encoding: 'utf8' });
    if (status !== null) expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    for (const line of text.split('\n')) expect((line.replaceAll("\\'", '').match(/'/g) ?? []).length % 2, line).toBe(0);
  });

  it('name every command for zsh, each in a function of its own', () => {
    const text = zshCompletion(commands);
    const names = [...text.matchAll(/^(_mailtwin(?!_asked)[a-z_]*)\(\) \{$/gm)].map(([, name]) => name);
    expect(names.length).toBe(flatten(commands).length);
    expect(new Set(names).size).toBe(names.length);
    // A quote inside a text must not end it.
    for (const line of text.split('\n')) expect((line.replaceAll("'\\''", '').match(/'/g) ?? []).length % 2, line).toBe(0);
  });
});

describe('the manual page', () => {
  const page = manPage(commands, '1.2.3', '2026-01-02');

  it('has every command with every option', () => {
    for (const { path, options, examples } of flatten(commands).filter((facts) => facts.options.length > 1 && facts.path.length > 0)) {
      const heading = `.SS "mailtwin ${path.join(' ').replaceAll('-', '\\-')}"`;
      const [, after = ''] = page.split(heading);
      const section = after.split('\n.SS')[0] ?? '';
      for (const { names } of options)
        expect(section, `${path.join(' ')} ${names.join()}`).toContain(`\\fB${names.at(-1)?.replaceAll('-', '\\-')}\\fR`);
      for (const example of examples) expect(section).toContain(example.replaceAll('-', '\\-'));
    }
  });

  it('is what groff takes without a warning', () => {
    const { status, stderr, stdout } = spawnSync('groff', ['-man', '-Tutf8', '-ww'], { input: page, encoding: 'utf8' });
    if (status === null) return expect(process.env['CI'], 'groff is missing').toBeUndefined();
    expect(stderr).toBe('');
    expect(stdout).toContain('Refused, nothing changed.');
  });
});

describe('the scripts of the Debian package', () => {
  it.each(['postinst', 'prerm', 'postrm', 'mailtwin.sh'])('%s is what a POSIX shell can read', (name) => {
    expect(spawnSync('sh', ['-n', deb(name)], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
  });

  it('keep state and configuration until purge', () => {
    const postrm = readFileSync(deb('postrm'), 'utf8');
    const purge = postrm.slice(postrm.indexOf('"$1" = purge'), postrm.indexOf('"$1" = remove ] ||'));
    expect(purge).toContain('rm -rf /var/lib/mailtwin /etc/mailtwin');
    expect(postrm.replace(purge, '')).not.toContain('rm -rf');
    expect(readFileSync(deb('prerm'), 'utf8')).not.toContain('rm -rf');
  });
});

describe('what the native files need', () => {
  const root = join(dir, 'native');
  /** The head of an ELF file for a machine, and its strings. */
  const elf = (name: string, machine: number, strings: readonly string[]) => {
    mkdirSync(join(root, name), { recursive: true });
    const head = Buffer.alloc(64);
    head.writeUInt32BE(0x7f454c46, 0);
    head.writeUInt16LE(machine, 18);
    writeFileSync(join(root, name, 'part.node'), Buffer.concat([head, Buffer.from(`\0${strings.join('\0')}\0`)]));
  };

  it('is the newest version that any of them names', () => {
    elf('one', 183, ['GLIBC_2.4', 'GLIBC_2.34', 'GLIBCXX_3.4.22', 'GLIBC_2.99 is prose']);
    elf('two', 183, ['GLIBC_2.28', 'GLIBCXX_3.4.29']);
    writeFileSync(join(root, 'two', 'text.js'), 'GLIBC_2.40'.repeat(20));
    expect(nativeNeeds(root, 'arm64')).toEqual({ libc: '2.34', libstdcxx: '11', files: 2 });
  });

  it('is refused when one is for another processor, or wants a library that nobody knows yet', () => {
    expect(() => nativeNeeds(root, 'amd64')).toThrow(/part\.node is for machine 183/);
    elf('three', 183, ['GLIBCXX_3.4.77']);
    expect(() => nativeNeeds(root, 'arm64')).toThrow(/GLIBCXX_3\.4\.77/);
  });
});
