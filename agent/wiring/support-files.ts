import { existsSync, readFileSync } from 'node:fs';
import { arch, platform, release } from 'node:os';
import type { Config } from '../config/config.ts';
import { auditLogName } from '../failover/audit-log.ts';
import type { Exec } from '../platform/exec.ts';
import { findServerVersion } from './parts.ts';
import { agentVersion } from './version.ts';

const logLines = 5000;
const bytesMax = 20 * 1024 * 1024;

/** What support needs of this node that lies on its disk; raw, for the caller to take secrets and names out. */
export async function supportFiles(config: Config, exec: Exec): Promise<{ name: string; text: string }[]> {
  const files = [
    {
      name: 'versions.txt',
      text: `mailtwin ${agentVersion}\nNode.js ${process.version}\n${platform()} ${release()} ${arch()}\n${(await findServerVersion()) ?? 'no mail server found'}\n`,
    },
    { name: 'config.yaml', text: readFileSync(config.file, 'utf8') },
  ];
  const audit = `${config.state}/${auditLogName}`;
  if (existsSync(audit)) files.push({ name: 'audit.ndjson', text: readFileSync(audit, 'utf8').slice(-bytesMax) });
  try {
    const { code, stdout } = await exec('journalctl', ['-u', 'mailtwin', '-n', String(logLines), '-o', 'cat', '--no-pager'], {
      timeoutMs: 30_000,
      outputBytesMax: bytesMax,
    });
    if (code === 0 && stdout.trim() !== '') files.push({ name: 'log.ndjson', text: stdout });
  } catch {
    // No journal on this host.
  }
  return files;
}
