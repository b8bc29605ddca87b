import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GuestAppliances } from '../lab/guest-appliances.ts';
import { GuestLan, guestCards } from '../lab/guest-lan.ts';
import { guestPackages, makeGuestDebian, makeGuestImage } from '../lab/guest-image.ts';
import { Guest } from '../lab/guest.ts';
import { keep } from '../lab/keep.ts';
import { ownerMark, removeAbandoned } from '../lab/ownership.ts';
import { run as command } from '../lab/processes.ts';
import { ensureDebianPackages } from '../setup/debian-packages.mjs';
import { PortScenario } from './guest-ports.ts';
import { VlanScenario } from './guest-vlans.ts';
import type { Soak } from './options.ts';

const top = fileURLToPath(new URL('../..', import.meta.url));
/**
 * What needs a real kernel and real ports: service addresses on the VLANs of one trunk, and the lights and cables of
 * network cards. A Debian under the emulation of qemu holds a managed switch, two appliances with the Debian package of
 * mailtwin, each on a card of its own, and clients.
 */
export const run: Soak = async () => {
  if (!(await ensureDebianPackages(guestPackages))) return false;
  const memory = '/dev/shm';
  removeAbandoned(memory);
  const dir = mkdtempSync(join(memory, `${ownerMark()}-guest-`));
  let guest: Guest | null = null;
  try {
    guest = await boot(dir);
    const pair = new GuestAppliances(guest, await GuestLan.make(guest));
    await pair.start();
    await new VlanScenario(pair).prove();
    await new PortScenario(pair, dir).prove();
    console.log('VLANs, lights and cables work on a real kernel');
    return true;
  } catch (error) {
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    if (guest) {
      const logs = await guest
        .run(['sh', '-c', 'tail -n 60 /var/log/mailtwin-*'], { mayFail: true })
        .catch((why: unknown) => ({ stdout: String(why) }));
      console.log(logs.stdout);
      keep('guest', {}, { console: guest.console, agents: logs.stdout });
    }
    return false;
  } finally {
    await guest?.end();
    rmSync(dir, { recursive: true, force: true });
  }
};

async function boot(dir: string): Promise<Guest> {
  console.log('making the package ...');
  const out = join(dir, 'packages');
  await command('npm', ['run', '--silent', 'package', '--', '--arch', 'amd64', '--quick', '--no-npm', '--out', out], {
    cwd: top,
    timeoutMs: 600_000,
  });
  const deb = readdirSync(out).find((name) => name.endsWith('.deb'));
  if (deb === undefined) throw new Error('npm run package made no .deb');
  // MAILTWIN_GUEST_DEBIAN=DIR keeps the Debian for the next run.
  const debian = process.env['MAILTWIN_GUEST_DEBIAN'] ?? join(dir, 'debian');
  if (!existsSync(debian)) {
    console.log('making a Debian to boot ...');
    await makeGuestDebian(debian);
  }
  const image = await makeGuestImage({ debian, deb: join(out, deb), dir });
  rmSync(out, { recursive: true });
  console.log('booting it ...');
  const start = performance.now();
  const guest = await Guest.boot({ image, dir, cards: guestCards, memoryMiB: 2048 });
  console.log(`${(await guest.run(['uname', '-r'])).stdout.trim()} booted in ${Math.round((performance.now() - start) / 1000)} s`);
  return guest;
}
