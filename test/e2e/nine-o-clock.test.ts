import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { Plan } from '../../protocol/takeover.ts';
import { servicePassword, type Appliance } from '../lab/appliance.ts';
import { AppliancePair } from '../lab/appliance-pair.ts';
import { ImapSession } from '../lab/imap-session.ts';
import { TerminalSession } from '../lab/terminal-session.ts';
import { waitFor } from '../lab/waiting.ts';

const root = process.getuid?.() === 0;
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const mainFile = fileURLToPath(new URL('../../dist/tools/cli/main.js', import.meta.url));
const later = fileURLToPath(new URL('../fixtures/later/later.mjs', import.meta.url));
const waitMs = 120_000;

/** A person at the terminal of a node. */
function terminalOf(node: Appliance, ...args: string[]): TerminalSession {
  const command = [process.execPath, mainFile, ...args, '--config', node.agent.configFile].map((each) => `'${each}'`).join(' ');
  return new TerminalSession('ip', [
    'netns',
    'exec',
    node.namespace,
    'script',
    '--quiet',
    '--return',
    '--flush',
    '--command',
    command,
    '/dev/null',
  ]);
}

async function planOf(node: Appliance): Promise<Plan> {
  return (
    JSON.parse((await node.agent.cli(['failover', '--dry-run', '--json'], { mayFail: true, timeoutMs: 120_000 })).stdout) as { plan: Plan }
  ).plan;
}

const levelOf = (plan: Plan, guard: string) => plan.guards.find((each) => each.guard === guard)?.level;

test.skipIf(!root)(
  'nine o’clock: the primary lost its power, the standby was restarted since, twenty minutes have passed, and a person follows the runbook: IMAP is up',
  async () => {
    const environment: NodeJS.ProcessEnv = { ...process.env };
    await using pair = new AppliancePair({ base, environment });
    await pair.start();
    const { a, b } = pair;
    await waitFor('mail-b to say that it can take over', waitMs, async () => (await b.agent.status()).canTakeOver?.can === true);

    // Somebody starts the mail server of the standby: it is brought to rest first and explained then.
    b.startMailServer();
    const { warnings } = await waitFor('the explanation', waitMs, async () => {
      const status = await b.agent.status();
      return status.warnings.some(({ code }) => code === 'started-by-others') ? status : null;
    });
    expect(warnings.find(({ code }) => code === 'started-by-others')?.text).toContain('they were stopped');
    expect(b.serves()).toBe(false);
    await waitFor('mail-b to say that it can take over', waitMs, async () => (await b.agent.status()).canTakeOver?.can === true);

    // Nothing of the host is left in the networks, as without power.
    await a.cutPower();
    for (const network of [0, 1]) pair.network.cut('a', network);
    const lost = await waitFor('mail-b to say how it takes over', waitMs, async () => {
      const status = await b.agent.status();
      return status.canTakeOver?.text.includes('failover --dry-run') ? status : null;
    });
    expect(lost.warnings.find(({ code }) => code === 'peer-lost')?.remedy).toContain('mailtwin failover --dry-run');

    // The agent of the standby is killed and starts again: what it last heard counts, and so does what it has seen since.
    await b.agent.kill9();
    await b.agent.start();
    const again = await planOf(b);
    expect([levelOf(again, 'unproven'), levelOf(again, 'predicted-loss'), levelOf(again, 'mail-server-version')]).toEqual([
      'warn',
      'warn',
      'pass',
    ]);
    expect(again.predictedLoss.bound).toContain('since');
    expect(again.predictedLoss.seconds).toBeLessThan(60);

    // Twenty minutes later the host has been started anew.
    await b.agent.stop();
    Object.assign(environment, { NODE_OPTIONS: `--import=${later}`, LATER_MS: String(20 * 60_000) });
    await b.agent.start();
    const status = await b.agent.status();
    expect(Date.parse(status.at) - Date.parse(status.peer.lastHeardAt ?? '')).toBeGreaterThan(20 * 60_000);
    const dry = await b.agent.cli(['failover', '--dry-run'], { timeoutMs: 120_000 });
    expect(dry.code, dry.stdout).toBe(0);
    await using terminal = terminalOf(b, 'failover');
    await terminal.see(/Type the name of [^:]*: /);
    terminal.type('mail-a');
    await terminal.see(/This may be lost: .*in at most \d+ s unheard/);
    await terminal.see(/Type yes to accept it: /);
    terminal.type('yes');
    expect(await terminal.end(), terminal.output).toBe(0);
    expect(terminal.output).toContain('mail-b is active in epoch 2');
    const session = await ImapSession.open({ host: pair.address, port: 143 }, 'probe', servicePassword);
    expect(await session.client.status('INBOX', { messages: true })).toMatchObject({ messages: 1 });
    await session.close();
    expect([a.bmc.isOn, b.serves()]).toEqual([false, true]);
  },
);
