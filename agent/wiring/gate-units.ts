import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type { GatedUnit } from '../../protocol/control.ts';
import type { Config } from '../config/config.ts';
import { writeDurable } from '../platform/durable-file.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Exec } from '../platform/exec.ts';
import { dropInPath, dropInText, unitsToGate } from '../services/gate-units.ts';
import { daemonReload, readDropIn, removeIfEmpty } from './drop-ins.ts';

/** The drop-in beside this program: from the source tree, and from dist/. */
function template(): string {
  for (const path of ['../../deploy/systemd/10-mailtwin.conf', '../../../deploy/systemd/10-mailtwin.conf'])
    try {
      return readFileSync(new URL(path, import.meta.url), 'utf8');
    } catch {
      // The other place has it.
    }
  throw new Error('10-mailtwin.conf is not part of this installation');
}

/**
 * The gate of the mail units: shows which have the drop-in, writes it to all of them, or takes it away.
 *
 * @param root directory before all paths, for tests; '' on a host.
 * @throws OperatorError when the configuration names no units, or the files cannot be written.
 */
export async function gateUnits(config: Config, action: 'show' | 'install' | 'remove', exec: Exec, root = ''): Promise<GatedUnit[]> {
  const services = config.services;
  const units = services ? unitsToGate(services.units) : [];
  if (units.length === 0)
    throw new OperatorError(
      'no-units',
      `${config.file} names no units in services.units`,
      'name the units of the mail server and the MTA there, for example `services: { units: [dovecot.service, postfix.service] }`',
    );
  const wanted = dropInText(template(), services?.gate ?? '');
  if (action !== 'show') {
    try {
      for (const unit of units) {
        const path = root + dropInPath(unit);
        if (action === 'install') {
          mkdirSync(dirname(path), { recursive: true });
          if (readDropIn(path, 'gate-files') !== wanted) writeDurable(path, wanted, { mode: 0o644 });
        } else {
          rmSync(path, { force: true });
          removeIfEmpty(dirname(path));
        }
      }
    } catch (error) {
      throw new OperatorError('gate-files', error instanceof Error ? error.message : String(error), 'run it as root');
    }
    await daemonReload(exec);
  }
  return units.map((unit) => {
    const path = dropInPath(unit);
    const found = readDropIn(root + path, 'gate-files');
    return { unit, file: path, state: found === null ? 'open' : found === wanted ? 'gated' : 'other' };
  });
}
