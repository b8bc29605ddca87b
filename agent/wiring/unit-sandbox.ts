import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type { UnitSandbox } from '../../protocol/control.ts';
import type { Config } from '../config/config.ts';
import { sandboxLines } from '../config/sandbox.ts';
import { writeDurable } from '../platform/durable-file.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Exec } from '../platform/exec.ts';
import { ownUnit } from '../platform/own-unit.ts';
import { daemonReload, readDropIn, removeIfEmpty } from './drop-ins.ts';

/** Beside what an operator writes; not the name of the gate's drop-ins. */
export const sandboxFile = `/etc/systemd/system/${ownUnit}.d/20-sandbox.conf`;

/**
 * The drop-in that opens the sandbox of `mailtwin.service` for what this configuration writes: shows how it stands, or writes
 * it, or removes it where the unit fits as it is. A running agent keeps the sandbox that it was started in.
 *
 * @param root directory before all paths, for tests; '' on a host.
 * @throws OperatorError `sandbox-file`, `daemon-reload`.
 */
export async function unitSandbox(config: Config, action: 'show' | 'install', exec: Exec, root = ''): Promise<UnitSandbox> {
  const lines = sandboxLines(config);
  const wanted = lines.length === 0 ? null : render(config.file, lines);
  const file = root + sandboxFile;
  const found = readDropIn(file, 'sandbox-file');
  const tell = (state: UnitSandbox['state']): UnitSandbox => ({
    file: sandboxFile,
    lines,
    state,
    of: found === null ? null : writerOf(found),
  });
  if (found === wanted) return tell('fits');
  if (action === 'show') return tell(found === null ? 'missing' : wanted === null ? 'needless' : 'other');
  try {
    if (wanted === null) {
      rmSync(file, { force: true });
      removeIfEmpty(dirname(file));
    } else {
      mkdirSync(dirname(file), { recursive: true });
      writeDurable(file, wanted, { mode: 0o644 });
    }
  } catch (error) {
    throw new OperatorError('sandbox-file', `${sandboxFile}: ${error instanceof Error ? error.message : String(error)}`, 'run it as root');
  }
  await daemonReload(exec);
  return tell('written');
}

function render(configFile: string, lines: readonly string[]): string {
  return `# Written by \`mailtwin sandbox install\` from ${configFile}: what the agent writes there,
# and the sandbox of mailtwin.service would keep it from. \`mailtwin doctor\` holds it against the configuration.
[Service]
${lines.join('\n')}
`;
}

/** The configuration that a drop-in was written from; null when this program did not write it. */
function writerOf(text: string): string | null {
  return /^# Written by `mailtwin sandbox install` from (.*): what/.exec(text)?.[1] ?? null;
}
