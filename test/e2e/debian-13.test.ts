import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { createLab, labObstacle, type Lab } from '../lab/lab.ts';
import { run } from '../lab/processes.ts';
import { program, releaseObstacle } from '../lab/release.ts';
import { copyStorm, stormUids } from './copy-storm-scenario.ts';
import { failOverUnderLoad } from './failover-scenario.ts';
import { nothingWrong, replicate } from './replication-scenario.ts';
import { tornCuts } from './torn-scenario.ts';

const release = 'trixie';
const releases = { a: release, b: release } as const;
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const seed = process.env['MAILTWIN_SEED'] ?? 'trixie';
const say = (line: string) => console.log(line);
const obstacle = labObstacle() ?? (await releaseObstacle(release));
if (obstacle !== null) console.log(`no Debian 13: ${obstacle}`);

let lab: Lab | null = null;
afterEach(async () => {
  await lab?.dispose();
  lab = null;
});

// Each claim once, as short as it can be; MAILTWIN_LAB_RELEASE=trixie runs every other test on it.
describe.skipIf(obstacle !== null)('with Dovecot 2.4 of Debian 13', () => {
  it('a live store on the standby is the same to clients, byte by byte, modseqs included', async () => {
    expect((await run(program(release, 'dovecot'), ['--version'])).stdout).toMatch(/^2\.4\./);
    lab = await createLab({ hosts: 2, diskDir: base, mail: { release } });
    const found = await replicate({ lab, watcher: 'fanotify', seed, seconds: 3 });
    say(`seed ${seed}: ${found.summary}`);
    expect(found).toMatchObject(nothingWrong);
    expect(found.audited.messages).toBeGreaterThan(50);
    expect((await run('cat', ['/proc/self/mounts'])).stdout).not.toContain(release);
  });

  it('a torn cut leaves a valid store on the standby (I1, I5, I6)', async () => {
    const { problems, messages } = await tornCuts({ times: 1, seed, release, say });
    expect(problems).toEqual([]);
    expect(messages).toBeGreaterThan(50);
  });

  it('a storm of copies in the lost tail, and a failover: no UID is reused (I5)', async () => {
    const { seen, reused, log } = await copyStorm(release);
    expect([reused, log]).toEqual([[], []]);
    expect(seen).toBeGreaterThan(stormUids);
  });

  it('a whole appliance fails over under load, is salvaged and rejoins (I3, I4, I5, I16)', async () => {
    const { problems, failovers, accepted } = await failOverUnderLoad({
      base,
      times: 1,
      seed: 13,
      say,
      releases,
      stallMs: 700,
      pauseMs: 30,
    });
    expect(problems).toEqual([]);
    expect(failovers).toBe(1);
    expect(accepted).toBeGreaterThan(40);
  });
});
