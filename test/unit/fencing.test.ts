import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import type { FenceLevelConfig, PowerLevelConfig } from '../../agent/config/takeover-sections/fencing.ts';
import { parseMetadata, whyUnfit } from '../../agent/fencing/agent-metadata.ts';
import { evidenceOf, masked } from '../../agent/fencing/evidence.ts';
import { createFencing, type FenceAsk, type Fencing, type FenceReceipt } from '../../agent/fencing/fencing.ts';
import { FenceProbe } from '../../agent/fencing/probe.ts';
import { verifyReceipt } from '../../agent/fencing/receipt.ts';
import { identityFromPem, makeIdentity } from '../../agent/link/identity.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import type { Exec, ExecResult } from '../../agent/platform/exec.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { Files } from '../../agent/platform/files.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { readSecret } from '../../agent/platform/secret-file.ts';
import { SimClock } from '../sim/sim-clock.ts';

const identityOf = (node: string) => {
  const { files } = makeIdentity(node);
  return identityFromPem(files['node.key'] ?? '', files['node.crt'] ?? '');
};
const own = identityOf('mail-b');
const wallMs = Date.parse('2026-03-01T09:05:00.000Z');
const target = { node: 'mail-a', pair: 'pair-1', epoch: 4 };
const nobody: FenceAsk = { cooperative: async () => ({ steppedDown: false, evidence: 'no connection' }), manual: null };

const metadata = (actions: readonly string[], extra = '') =>
  `<?xml version="1.0" ?>\n<resource-agent name="fence_x" shortdesc="x">\n<parameters>${extra}</parameters>\n<actions>\n${actions
    .map((name) => `\t<action name="${name}" ${name === 'on' ? 'automatic="0"' : ''}/>`)
    .join('\n')}\n</actions>\n</resource-agent>\n`;
const usual = metadata(['on', 'off', 'reboot', 'status', 'monitor', 'metadata']);
const method = (otherwise: string) =>
  `<parameter name="method" unique="0"><getopt mixed="-m" />\n<content type="select" default="${otherwise}"  ><option value="onoff" /></content></parameter>`;

/** A program that answers by what it is told; `ms` of virtual time pass before it does. */
interface Answer {
  code?: number | null;
  stdout?: string;
  stderr?: string;
  ms?: number;
}

class Bench {
  readonly sim = new SimClock();
  readonly clock = this.sim.host(wallMs);
  readonly calls: { program: string; args: readonly string[]; input: string }[] = [];
  readonly said: string[] = [];

  /** `answer` is asked with the program and its `action`, or its first argument. */
  fencing(levels: FenceLevelConfig[], answer: (program: string, what: string) => Answer): Fencing {
    const exec: Exec = (program, args, options = {}) => {
      const input = String(options.input ?? '');
      this.calls.push({ program, args, input });
      const what = /^action=(.*)$/m.exec(input)?.[1] ?? args[0] ?? '';
      const {
        code = 0,
        stdout = '',
        stderr = '',
        ms = 10,
      } = what === 'metadata' ? { stdout: usual, ...answer(program, what) } : answer(program, what);
      const timeoutMs = options.timeoutMs ?? 30_000;
      return new Promise((resolve) => {
        const isLate = ms > timeoutMs;
        const result: ExecResult = { code, signal: null, timedOut: false, stdout, stderr, truncated: false };
        this.clock.after(Math.min(ms, timeoutMs), () =>
          resolve(isLate ? { ...result, code: null, signal: 'SIGKILL', timedOut: true } : result),
        );
      });
    };
    let ids = 0;
    return createFencing({
      levels,
      node: 'mail-b',
      keyPem: own.keyPem,
      exec,
      files: realFiles,
      clock: this.clock,
      log: silentLog,
      newId: () => `id-${++ids}`,
    });
  }

  async fence(fencing: Fencing, ask = nobody): ReturnType<Fencing['fence']> {
    return this.settle(fencing.fence(target, ask, (text) => void this.said.push(text), new AbortController().signal));
  }

  /** Lets virtual time pass until the work is done. */
  async settle<T>(work: Promise<T>): Promise<T> {
    let isOver = false;
    const end = () => void (isOver = true);
    work.then(end, end);
    await this.sim.runWhile(() => !isOver, 3_600_000);
    return work;
  }
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

const agent = (name: string, change: Partial<FenceLevelConfig & { type: 'agent' }> = {}): FenceLevelConfig => ({
  type: 'agent',
  name,
  agent: name,
  options: { ip: '192.0.2.9', username: 'admin' },
  secrets: {},
  timeoutSeconds: 60,
  ...change,
});
const command = (name: string): FenceLevelConfig => device(name);
const device = (name: string): PowerLevelConfig => ({
  type: 'command',
  name,
  off: [name, 'off'],
  status: [name, 'status'],
  timeoutSeconds: 30,
});

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-fencing-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
/** Files whose group is this one: only root could make them so. */
function ofGroup(gid: number): Files {
  return {
    ...realFiles,
    readFile(path, bytesMax) {
      const file = realFiles.readFile(path, bytesMax);
      return file && { ...file, stat: { ...file.stat, gid } };
    },
  };
}

function secretFile(text: string, mode = 0o600): string {
  const path = join(dir, `secret-${Math.random()}`);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

describe('fencing', () => {
  it('takes the state for the proof, and binds the receipt to target, pair and epoch', async () => {
    const bench = new Bench();
    let isOn = true;
    const fencing = bench.fencing([agent('fence_a')], (_program, what) => {
      if (what === 'metadata') return {};
      if (what === 'off') isOn = false;
      return what === 'status' ? { code: isOn ? 0 : 2, stdout: `Status: ${isOn ? 'ON' : 'OFF'}\n` } : { stdout: 'Success: Powered OFF\n' };
    });
    const { receipt, tried } = await bench.fence(fencing);
    expect(tried).toMatchObject([{ level: 1, type: 'agent', name: 'fence_a', state: 'off', error: null }]);
    expect(receipt).toMatchObject({ receipt: 1, id: 'id-1', target: 'mail-a', by: 'mail-b', pair: 'pair-1', epoch: 4, level: 1 });
    expect(receipt?.evidence).toBe('fence_a: off ended with 0: Success: Powered OFF; fence_a reads off: Status: OFF');
    expect(Date.parse(receipt?.expiresAt ?? '') - Date.parse(receipt?.provenAt ?? '')).toBe(15 * 60_000);
    expect(verifyReceipt(receipt as FenceReceipt, own.spki, { target: 'mail-a', pair: 'pair-1', epoch: 4, wallMs })).toBeNull();
    expect(bench.calls.map(({ input }) => /action=(.*)/.exec(input)?.[1])).toEqual(['metadata', 'off', 'status']);
    expect(bench.calls.every(({ args }) => args.length === 0)).toBe(true);
  });

  it('does not believe a success when the state reads on: the next level is tried', async () => {
    const bench = new Bench();
    const fencing = bench.fencing([agent('fence_liar'), command('pdu')], (program, what) =>
      what === 'status' ? { code: program === 'pdu' ? 2 : 0 } : {},
    );
    const { receipt, tried } = await bench.fence(fencing);
    expect(tried.map(({ state, error }) => [state, error?.code])).toEqual([
      ['on', 'fence-still-on'],
      ['off', undefined],
    ]);
    expect(tried[0]?.ms).toBeGreaterThan(59_000);
    expect(tried[0]?.ms).toBeLessThan(61_000);
    expect(receipt).toMatchObject({ level: 2, type: 'command', name: 'pdu' });
  });

  it('takes two outlets for a proof only when both read off, at the same time', async () => {
    const both: FenceLevelConfig = { type: 'all', name: 'both', devices: [device('one'), device('two')], timeoutSeconds: 60 };
    const states = { one: true, two: true } as Record<string, boolean>;
    const stuck = new Set<string>();
    const bench = new Bench();
    const fencing = bench.fencing([both], (program, what) => {
      if (what === 'off' && !stuck.has(program)) states[program] = false;
      return what === 'status' ? { code: states[program] ? 0 : 2 } : {};
    });
    const done = await bench.fence(fencing);
    expect(done.receipt).toMatchObject({ level: 1, type: 'all', name: 'both' });
    expect(done.receipt?.evidence).toMatch(/one: status ended with 2.*two: status ended with 2.*read once more/);

    states['one'] = states['two'] = true;
    stuck.add('two');
    const half = await bench.fence(fencing);
    expect(half.receipt).toBeNull();
    expect(half.tried).toMatchObject([{ state: 'on', error: { code: 'fence-still-on' } }]);
    const [reading] = await bench.settle(all(fencing.test(new AbortController().signal)));
    expect(reading).toMatchObject({ state: 'on', type: 'all' });
    expect(reading?.evidence).toMatch(/one: status ended with 2.*two: status ended with 0/);
  });

  it('does not take a level of several for off when one came on again, or cannot be read', async () => {
    const both: FenceLevelConfig = { type: 'all', name: 'both', devices: [device('one'), device('two')], timeoutSeconds: 60 };
    let reads = 0;
    const bench = new Bench();
    const back = bench.fencing([both], (program, what) => (what === 'status' ? { code: program === 'one' && ++reads > 1 ? 0 : 2 } : {}));
    expect((await bench.fence(back)).receipt).toBeNull();
    const mute = bench.fencing([both], (program, what) => (what === 'status' ? { code: program === 'one' ? 1 : 2 } : {}));
    const { receipt, tried } = await bench.fence(mute);
    expect(receipt).toBeNull();
    expect(tried).toMatchObject([{ state: 'unknown', error: { code: 'fence-unreadable' } }]);
  });

  it('waits for a host that takes its time to go off', async () => {
    const bench = new Bench();
    const fencing = bench.fencing([agent('fence_slow')], (_program, what) =>
      what === 'status' ? { code: bench.sim.now > 20_000 ? 2 : 0 } : {},
    );
    expect((await bench.fence(fencing)).tried).toMatchObject([{ state: 'off', error: null }]);
  });

  it('takes a state of off for a proof also when switching off failed, and tries twice', async () => {
    const bench = new Bench();
    let offs = 0;
    const fencing = bench.fencing([agent('fence_b')], (_program, what) => {
      if (what === 'off') offs++;
      return what === 'metadata' ? {} : { code: what === 'status' && offs === 2 ? 2 : 1 };
    });
    expect((await bench.fence(fencing)).receipt).toMatchObject({ level: 1 });
    expect(offs).toBe(2);
  });

  it('gives a level up that hangs, within its time, and looks at the state before', async () => {
    const bench = new Bench();
    const hang = bench.fencing([agent('fence_hang'), command('pdu')], (program, what) =>
      program === 'fence_hang' && what !== 'metadata' ? { ms: 1e9 } : { code: what === 'status' ? 2 : 0 },
    );
    const { tried } = await bench.fence(hang);
    expect(tried.map(({ error }) => error?.code)).toEqual(['fence-timeout', undefined]);
    expect(tried[0]?.ms).toBeLessThanOrEqual(60_500);

    const worked = new Bench();
    const silent = worked.fencing([agent('fence_mute')], (_program, what) =>
      what === 'off' ? { ms: 1e9 } : { code: what === 'status' ? 2 : 0 },
    );
    expect((await worked.fence(silent)).tried).toMatchObject([{ state: 'off', error: null }]);
  });

  it.each<[string, string, Partial<FenceLevelConfig & { type: 'agent' }>, RegExp]>([
    ['cannot switch off', metadata(['reboot', 'status', 'monitor']), {}, /cannot switch off: its actions are reboot, status, monitor/],
    ['cannot read the state', metadata(['off', 'monitor']), {}, /cannot read the state/],
    ['power-cycles by default', metadata(['off', 'status'], method('cycle')), {}, /power-cycles unless/],
    ['only takes storage away', usual.replace('automatic="0"', 'automatic="1" on_target="1"'), {}, /takes storage away/],
    ['says nothing of itself', 'hello\n', {}, /does not say what it can do/],
    ['reads a cable', usual, { agent: '/usr/sbin/fence_crosslink' }, /pulled cable/],
  ])('refuses an agent that %s, without calling it', async (_what, xml, change, reason) => {
    const bench = new Bench();
    const fencing = bench.fencing([agent('fence_x', change), { type: 'manual', name: 'by hand', timeoutSeconds: 1 }], (_program, what) =>
      what === 'metadata' ? { stdout: xml } : { code: 2 },
    );
    const { receipt, tried } = await bench.fence(fencing);
    expect(receipt).toBeNull();
    expect(tried[0]?.error?.code).toMatch(/^fence-agent-(unfit|metadata)$/);
    expect(tried[0]?.error?.detail).toMatch(reason);
    expect(bench.calls.map(({ input }) => input)).toEqual(['action=metadata\n']);
    await expect(bench.settle(fencing.check(new AbortController().signal))).rejects.toThrow(reason);
  });

  it('takes an agent whose power cycle is only a default when onoff is asked for', () => {
    const known = parseMetadata(metadata(['off', 'status'], method('cycle')));
    expect(known && whyUnfit('fence_sbd', known, { method: 'onoff' })).toBeNull();
  });

  it('asks the peer to step down, and does not wait for it longer than the level may', async () => {
    const bench = new Bench();
    const levels: FenceLevelConfig[] = [{ type: 'cooperative', name: 'step-down', timeoutSeconds: 15 }];
    const ask = (cooperative: FenceAsk['cooperative']): FenceAsk => ({ cooperative, manual: null });
    const agreed = await bench.fence(
      bench.fencing(levels, () => ({})),
      ask(async () => ({ steppedDown: true, evidence: 'standby at epoch 4, durable' })),
    );
    expect(agreed.receipt).toMatchObject({ type: 'cooperative', evidence: 'it stepped down: standby at epoch 4, durable' });
    const refused = await bench.fence(bench.fencing(levels, () => ({})));
    expect(refused).toMatchObject({ receipt: null, tried: [{ error: { code: 'fence-no-step-down' } }] });
    const broken = await bench.fence(
      bench.fencing(levels, () => ({})),
      ask(() => Promise.reject(new Error('connection lost'))),
    );
    expect(broken.tried[0]?.error?.detail).toMatch(/connection lost/);
    const silent = await bench.fence(
      bench.fencing(levels, () => ({})),
      ask(() => new Promise(() => {})),
    );
    expect(silent).toMatchObject({ receipt: null, tried: [{ ms: 15_000 }] });
  });

  it('believes a person only with the name of that very node and with evidence', async () => {
    const levels: FenceLevelConfig[] = [{ type: 'manual', name: 'by hand', timeoutSeconds: 1 }];
    const bench = new Bench();
    const state = (manual: FenceAsk['manual']) =>
      bench.fence(
        bench.fencing(levels, () => ({})),
        { ...nobody, manual },
      );
    expect(await state(null)).toMatchObject({ receipt: null, tried: [{ error: { code: 'fence-not-stated' } }] });
    for (const node of ['mail-b', 'MAIL-A', 'mail-a ', ''])
      expect(await state({ node, by: 'jo', evidence: 'cable pulled' })).toMatchObject({
        receipt: null,
        tried: [{ error: { code: 'fence-wrong-node' } }],
      });
    expect(await state({ node: 'mail-a', by: 'jo', evidence: ' \n' })).toMatchObject({ receipt: null });
    expect(await state({ node: 'mail-a', by: '', evidence: 'cable pulled' })).toMatchObject({ receipt: null });
    expect((await state({ node: 'mail-a', by: 'jo', evidence: 'both power cords\nare out' })).receipt).toMatchObject({
      type: 'manual',
      evidence: 'stated by jo: both power cords are out',
    });
  });

  it('goes on to the next level when one fails in a way that nobody foresaw', async () => {
    const bench = new Bench();
    const fencing = bench.fencing([command('broken'), command('pdu')], (program, what) => {
      if (program === 'broken') throw new TypeError('boom');
      return { code: what === 'status' ? 2 : 0 };
    });
    expect((await bench.fence(fencing)).receipt).toMatchObject({ level: 2 });
  });

  it('refuses to fence where nothing is configured', async () => {
    const bench = new Bench();
    await expect(bench.fence(bench.fencing([], () => ({})))).rejects.toMatchObject({ code: 'no-fencing', exitCode: 3 });
  });

  it('ends between levels when it is broken off', async () => {
    const bench = new Bench();
    const abort = new AbortController();
    const fencing = bench.fencing([command('one'), command('two')], (_program, what) => {
      abort.abort();
      return { code: what === 'status' ? 1 : 0 };
    });
    const { receipt, tried } = await bench.settle(fencing.fence(target, nobody, () => {}, abort.signal));
    expect({ receipt, tried }).toMatchObject({ receipt: null, tried: [{ error: { code: 'fence-aborted' } }] });
    expect(bench.calls.every(({ program }) => program === 'one')).toBe(true);
  });

  it('tests by reading alone', async () => {
    const bench = new Bench();
    const levels: FenceLevelConfig[] = [
      agent('fence_a'),
      command('pdu'),
      { type: 'cooperative', name: 'c', timeoutSeconds: 15 },
      { type: 'manual', name: 'm', timeoutSeconds: 1 },
    ];
    const fencing = bench.fencing(levels, (program) => ({ code: program === 'pdu' ? 3 : 0 }));
    const readings = await bench.settle(all(fencing.test(new AbortController().signal)));
    expect(readings.map(({ level, state, error }) => [level, state, error?.code])).toEqual([
      [1, 'on', undefined],
      [2, 'unknown', 'fence-unreadable'],
      [3, 'unknown', undefined],
      [4, 'unknown', undefined],
    ]);
    expect(bench.calls.map(({ input, args }) => /action=(.*)/.exec(input)?.[1] ?? args[0])).toEqual(['metadata', 'status', 'status']);
  });
});

describe('a receipt', () => {
  const make = async (): Promise<FenceReceipt> => {
    const bench = new Bench();
    const { receipt } = await bench.fence(bench.fencing([command('pdu')], (_program, what) => ({ code: what === 'status' ? 2 : 0 })));
    return receipt as FenceReceipt;
  };
  const wanted = { target: 'mail-a', pair: 'pair-1', epoch: 4, wallMs };

  it('survives being kept as JSON, in whatever order', async () => {
    const kept = JSON.parse(JSON.stringify(await make())) as FenceReceipt;
    const turned = Object.fromEntries(Object.entries(kept).toReversed()) as unknown as FenceReceipt;
    expect(verifyReceipt(turned, own.spki, wanted)).toBeNull();
  });

  it('proves nothing once any field was changed', async () => {
    const receipt = await make();
    for (const field of Object.keys(receipt) as (keyof FenceReceipt)[]) {
      const value = receipt[field];
      const changed = { ...receipt, [field]: typeof value === 'number' ? value + 1 : `${value}x` } as FenceReceipt;
      // A wanted value that follows the change does not help either.
      const follow = { ...wanted, ...(field in wanted ? { [field]: changed[field] } : {}) };
      expect(verifyReceipt(changed, own.spki, field === 'signature' ? wanted : follow), field).not.toBeNull();
    }
    for (const signature of ['', 'AAAA', undefined])
      expect(verifyReceipt({ ...receipt, signature } as FenceReceipt, own.spki, wanted)).not.toBeNull();
    expect(verifyReceipt({ ...receipt, more: 1 } as FenceReceipt, own.spki, wanted)).toMatch(/signature/);
    expect(verifyReceipt(receipt, identityOf('mail-b').spki, wanted)).toMatch(/signature/);
  });

  it('proves nothing for another node, pair or epoch, nor before and after its time', async () => {
    const receipt = await make();
    const why = (change: Partial<typeof wanted>) => verifyReceipt(receipt, own.spki, { ...wanted, ...change });
    expect(why({ target: 'mail-c' })).toMatch(/about mail-a/);
    expect(why({ pair: 'other' })).toMatch(/another pair/);
    expect(why({ epoch: 5 })).toMatch(/epoch 4, not 5/);
    expect(why({ wallMs: wallMs + 14 * 60_000 })).toBeNull();
    expect(why({ wallMs: wallMs + 16 * 60_000 })).toMatch(/expired/);
    expect(why({ wallMs: wallMs - 60 * 60_000 })).toMatch(/not come yet/);
  });
});

describe('secrets', () => {
  it('are read from files that others cannot read', () => {
    expect(readSecret(realFiles, secretFile('s3same \n'), 'bmc')).toBe('s3same ');
    const refused = (path: string, files: Files = realFiles) => {
      try {
        return readSecret(files, path, 'bmc');
      } catch (error) {
        expect(error).toBeInstanceOf(OperatorError);
        return (error as OperatorError).message;
      }
    };
    expect(refused(secretFile('sesame', 0o644))).toMatch(/open to every user \(mode 0644\)/);
    expect(refused(secretFile('sesame', 0o602))).toMatch(/open to every user/);
    expect(refused(secretFile('sesame', 0o640), ofGroup(100))).toMatch(/open to group 100 \(mode 0640\)/);
    expect(refused(secretFile('sesame', 0o620), ofGroup(100))).toMatch(/open to group 100/);
    expect(readSecret(ofGroup(0), secretFile('sesame', 0o640), 'bmc')).toBe('sesame');
    expect(refused(secretFile('a\nb\n'))).toMatch(/does not hold one line/);
    expect(refused(secretFile('\n'))).toMatch(/does not hold one line/);
    expect(refused(secretFile('x'.repeat(5000)))).toMatch(/cannot be read/);
    expect(refused(join(dir, 'none'))).toMatch(/there is no file/);
    const link = join(dir, 'link');
    symlinkSync(secretFile('sesame'), link);
    expect(refused(link)).toMatch(/no regular file/);
  });

  it('are in the lines for the agent and nowhere else', async () => {
    const bench = new Bench();
    const level = agent('fence_x', { secrets: { password: secretFile('p\'w %&"d') } });
    const fencing = bench.fencing([level], (_program, what) => ({
      code: what === 'status' ? 2 : 0,
      stderr: `login with admin:p'w %&"d and p%27w%20%25%26%22d`,
    }));
    const outcome = await bench.fence(fencing);
    expect(bench.calls.at(-1)?.input).toBe(`ip=192.0.2.9\nusername=admin\npassword=p'w %&"d\naction=status\n`);
    const all = JSON.stringify({ outcome, said: bench.said });
    expect(outcome.receipt?.evidence).toContain('***');
    expect(all).not.toContain("p'w");
    expect(all).not.toContain('p%27w');
  });

  it('are masked in whatever form programs write them', () => {
    const unit = fc.constantFrom(...'abcXYZ019 \'"\\%&=+/$#äß'.split(''));
    fc.assert(
      fc.property(fc.array(unit, { minLength: 6, maxLength: 40 }), fc.string({ maxLength: 5 }), (chars, before) => {
        const secret = chars.join('');
        fc.pre(secret.trim() === secret);
        const base64 = Buffer.from(`${before}:${secret}`).toString('base64');
        const text = `${secret} ${encodeURIComponent(secret)} ${JSON.stringify({ secret })} Basic ${base64}`;
        const shown = masked(text, [secret]);
        expect(shown).not.toContain(secret);
        expect(shown).not.toContain(encodeURIComponent(secret));
        // At most the edges of the base64 are left, too little to tell more than a character or two.
        const middle = Buffer.from(secret).toString('base64').slice(4, -5);
        if (middle.length > 6) expect(shown).not.toContain(base64);
      }),
    );
  });

  it('are not left half by a cut of the output', () => {
    const secret = 'a-long-secret-of-the-bmc';
    const stdout = `${'line\n'.repeat(10)}password ${secret.slice(0, 12)}`;
    expect(evidenceOf({ stdout, stderr: '', truncated: true }, [secret])).not.toContain('a-long');
    const long = evidenceOf({ stdout: `${'x'.repeat(995)}${secret}${'y'.repeat(3000)}`, stderr: '', truncated: false }, [secret]);
    expect(long).not.toContain('a-lo');
    expect(long.length).toBeLessThan(1100);
  });
});

describe('the probe', () => {
  it('reads every level at once and then every five minutes, and does not repeat what is old (I18)', async () => {
    const bench = new Bench();
    let answer: Answer = { code: 0 };
    const fencing = bench.fencing([command('pdu')], () => answer);
    const probe = new FenceProbe({ fencing, clock: bench.clock, log: silentLog });
    const failures: unknown[] = [];
    probe.run().catch((error: unknown) => failures.push(error));
    await bench.sim.runFor(1000);
    expect(probe.readings()).toMatchObject([{ level: 1, state: 'on' }]);
    answer = { code: 1 };
    await bench.sim.runFor(4 * 60_000);
    expect(probe.readings()).toMatchObject([{ state: 'on' }]);
    await bench.sim.runFor(2 * 60_000);
    expect(probe.readings()).toMatchObject([{ state: 'unknown', error: { code: 'fence-unreadable' } }]);
    expect(bench.calls.map(({ args }) => args[0])).toEqual(['status', 'status']);
    await bench.settle(probe.stop());
    await bench.sim.runFor(11 * 60_000);
    expect(probe.readings()).toMatchObject([{ level: 1 }]);
    await bench.sim.runFor(2 * 60_000);
    expect(probe.readings()).toEqual([]);
    expect(failures).toEqual([]);
  });
});
