import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** MAILTWIN_KEEP=DIR keeps there what a failing long run leaves, so that its cause can be found. */
const keepDir = process.env['MAILTWIN_KEEP'];

/** Copies directories and texts of a run that went wrong, below one name. Nothing when nobody asked for it. */
export function keep(name: string, dirs: Readonly<Record<string, string>>, texts: Readonly<Record<string, string>>): void {
  if (keepDir === undefined) return;
  const to = join(keepDir, name.replace(/[^\w.-]+/g, '-'));
  mkdirSync(to, { recursive: true });
  for (const [file, text] of Object.entries(texts)) writeFileSync(join(to, file), text);
  // Sockets and what vanishes meanwhile cannot be copied; the rest tells enough.
  for (const [sub, dir] of Object.entries(dirs)) {
    try {
      cpSync(dir, join(to, sub), { recursive: true, preserveTimestamps: true, filter: (from) => !from.endsWith('.sock') });
    } catch (error) {
      writeFileSync(join(to, `${sub}.error`), String(error));
    }
  }
}
