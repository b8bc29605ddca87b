import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';

export const architectures = ['amd64', 'arm64'] as const;
/** Debian's name of an architecture. */
export type Architecture = (typeof architectures)[number];

/** Node's name of an architecture. */
export const nodeCpu: Record<Architecture, 'x64' | 'arm64'> = { amd64: 'x64', arm64: 'arm64' };

/** The release line with long-term support; the package carries it, whatever the building machine runs. */
export const nodeVersion = '24.21.0';

/** Subresource integrity of the npm packages `node-linux-*`, which hold the official builds. */
const integrity: Record<Architecture, string> = {
  amd64: 'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
  arm64: 'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==',
};

/**
 * Unpacks the Node.js runtime of an architecture below `dir`.
 *
 * @param cache where the downloaded archive is kept for the next time.
 * @returns paths of the executable and of its licence.
 * @throws Error when what was downloaded is not what this release was made for.
 */
export function unpackNode(arch: Architecture, cache: string, dir: string): { bin: string; license: string } {
  mkdirSync(cache, { recursive: true });
  const name = `node-linux-${nodeCpu[arch]}`;
  const archive = join(cache, `${name}-${nodeVersion}.tgz`);
  if (!existsSync(archive)) {
    const partial = join(cache, `partial-${process.pid}`);
    mkdirSync(partial, { recursive: true });
    execFileSync('npm', ['pack', `${name}@${nodeVersion}`, '--silent', '--pack-destination', partial], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [packed] = readdirSync(partial);
    if (!packed) throw new Error(`npm pack of ${name} made nothing`);
    renameSync(join(partial, packed), archive);
  }
  const found = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
  if (found !== integrity[arch]) throw new Error(`${archive} is not the expected one: ${found}; remove it and try again`);
  mkdirSync(dir, { recursive: true });
  execFileSync('tar', ['xzf', archive, '-C', dir, 'package/bin/node', 'package/LICENSE']);
  return { bin: join(dir, 'package/bin/node'), license: join(dir, 'package/LICENSE') };
}
