import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { AgentApi } from '../../agent/control/api.ts';
import { startControlServer, type ControlServer } from '../../agent/control/server.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { NicsReport, PortEvent } from '../../protocol/nics.ts';
import { runCli, recordingTerminal, type Ran } from './cli-fixture.ts';
import { fakeAgent, sampleProof } from './control-fixture.ts';

let dir: string;
let server: ControlServer | undefined;

beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'mailtwin-cli-'))));
afterEach(async () => {
  await server?.close();
  rmSync(dir, { recursive: true, force: true });
});

async function cli(args: string[], change: Partial<AgentApi> = {}): Promise<Ran> {
  await server?.close();
  server = await startControlServer({ stateDir: dir, api: fakeAgent(change), log: silentLog });
  return runCli(args, { stateDirOf: async () => dir });
}

const report: NicsReport = {
  node: 'mail-b',
  at: '2026-01-02T03:04:05.000Z',
  ports: [
    {
      ifname: 'eno1',
      mac: '02:00:00:00:00:0a',
      driver: 'igb',
      slot: '0000:03:00.0',
      kind: 'hardware',
      isUp: true,
      carrier: true,
      speedMbits: 1000,
      dhcp: false,
      partOf: null,
      addresses: ['192.0.2.3/24'],
      roles: ['lan'],
    },
    {
      ifname: 'eno2',
      mac: '02:00:00:00:00:0b',
      driver: null,
      slot: null,
      kind: 'bond',
      isUp: true,
      carrier: false,
      speedMbits: null,
      dhcp: null,
      partOf: 'bond0',
      addresses: [],
      roles: [],
    },
  ],
  roles: [
    {
      name: 'lan',
      vlan: 30,
      addresses: ['192.0.2.10/24'],
      held: [],
      proof: sampleProof(),
      peerPort: { ifname: 'eth0', mac: '02:00:00:00:00:01', carrier: true },
    },
  ],
  alarms: [],
};

describe('nics', () => {
  it('shows ports and roles of both nodes', async () => {
    const ran = await cli(['nics'], { nics: async () => report });
    expect(ran.code).toBe(0);
    expect(ran.out).toBe(`mail-b  at 2026-01-02T03:04:05.000Z

PORT                  ROLE  LINK      SPEED   PERMANENT MAC      DRIVER  SLOT          ADDRESSES
eno1                  lan   up        1 Gb/s  02:00:00:00:00:0a  igb     0000:03:00.0  192.0.2.3/24
eno2 (part of bond0)  -     no cable  -       02:00:00:00:00:0b  bond    -             -

lan  VLAN 30  192.0.2.10/24
  here   proven  eno1 (02:00:00:00:00:0a): 192.0.2.1 answers from 02:00:00:00:00:01
  peer   eth0 (02:00:00:00:00:01)
  held   none
`);
    expect(JSON.parse((await cli(['nics', '--json'], { nics: async () => report })).out)).toEqual({ mailtwin: 1, ...report });
  });

  it('ends with 1 when a segment is not proven or an alarm stands', async () => {
    const unproven = { ...report, roles: report.roles.map((role) => ({ ...role, proof: sampleProof({ level: 'fail' }) })) };
    const ran = await cli(['nics'], { nics: async () => unproven });
    expect(ran.code).toBe(1);
    expect(ran.out).toContain('here   unproven');
    const alarm = {
      code: 'address-conflict',
      role: 'lan',
      address: '192.0.2.10',
      text: 'somebody else',
      remedy: 'find it',
      at: report.at,
    } as const;
    const alarmed = await cli(['nics'], { nics: async () => ({ ...report, alarms: [alarm] }) });
    expect(alarmed.code).toBe(1);
    expect(alarmed.out).toContain('alarm address-conflict: somebody else\n  what to do: find it\n');
  });

  it('assigns and swaps, and says why not', async () => {
    const assignNic = vi.fn(async (role: string, port: string) => sampleProof({ role, port }));
    const ran = await cli(['nics', 'assign', 'lan', 'eno1'], { assignNic });
    expect(ran).toMatchObject({ code: 0, out: expect.stringContaining('lan  proven  eno1') as string });
    expect(assignNic).toHaveBeenCalledWith('lan', 'eno1', false);
    await cli(['nics', 'assign', 'lan', 'eno1', '--unproven'], { assignNic });
    expect(assignNic).toHaveBeenLastCalledWith('lan', 'eno1', true);
    const swapNics = vi.fn(async () => [sampleProof(), sampleProof({ role: 'dmz' })]);
    expect(
      (JSON.parse((await cli(['nics', '--json', 'swap', 'lan', 'dmz'], { swapNics })).out) as { proofs: unknown[] }).proofs,
    ).toHaveLength(2);
    expect(
      (JSON.parse((await cli(['nics', 'swap', 'lan', 'dmz', '--json'], { swapNics })).out) as { proofs: unknown[] }).proofs,
    ).toHaveLength(2);
    expect(swapNics).toHaveBeenLastCalledWith('lan', 'dmz', false);
    const refused = await cli(['nics', 'assign', 'lan', 'eno9'], {
      assignNic: async () => {
        throw new OperatorError('segment-unproven', 'no answer', 'look', 3);
      },
    });
    expect(refused).toEqual({ code: 3, out: '', err: 'mailtwin: segment-unproven: no answer\n  what to do: look\n' });
  });

  it('tells each cable as it is pulled, until Ctrl-C', async () => {
    const event: PortEvent = { ifname: 'eno1', mac: '02:00:00:00:00:0a', slot: '0000:03:00.0', roles: ['lan'], what: 'pulled' };
    const ended = vi.fn();
    server = await startControlServer({
      stateDir: dir,
      log: silentLog,
      api: fakeAgent({
        async *identifyNics(seconds, blink, signal) {
          expect([seconds, blink]).toEqual([300, null]);
          yield { kind: 'port', event };
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
          ended();
          yield { kind: 'done', summary: '', exitCode: 0, facts: {} };
        },
      }),
    });
    const terminal = recordingTerminal();
    const ran = runCli(['nics', 'identify'], { stateDirOf: async () => dir }, terminal);
    await vi.waitFor(() => expect(terminal.out.join('')).toContain('pulled   eno1  02:00:00:00:00:0a, 0000:03:00.0, role lan\n'), {
      timeout: 30_000,
    });
    terminal.interrupt();
    expect((await ran).code).toBe(0);
    await vi.waitFor(() => expect(ended).toHaveBeenCalled(), { timeout: 30_000 });
  });

  it('blinks one port', async () => {
    const identifyNics = vi.fn(async function* () {
      yield { kind: 'done', summary: 'the light of eno1 has blinked', exitCode: 0, facts: {} } as const;
    });
    const ran = await cli(['nics', 'identify', 'eno1', '--blink', '--seconds', '10'], { identifyNics });
    expect(ran).toMatchObject({ code: 0, out: expect.stringContaining('the light of eno1 has blinked\n') as string });
    expect(identifyNics).toHaveBeenCalledWith(10, 'eno1', expect.anything());
  });

  it.each([
    [['nics', 'assign', 'lan']],
    [['nics', 'swap', 'lan']],
    [['nics', 'identify', 'eno1']],
    [['nics', 'identify', '--blink']],
    [['nics', 'nonsense']],
  ])('%j is a usage error', async (args) => expect((await cli(args)).code).toBe(2));
});
