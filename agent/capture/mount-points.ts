import type { BytePath } from '../platform/files.ts';
import { relativeTo } from './root-paths.ts';

/** Mount points strictly below a directory, from the text (latin1) of /proc/self/mountinfo (proc(5)). */
export function mountPointsBelow(mountInfo: string, directory: BytePath): BytePath[] {
  const found: BytePath[] = [];
  for (const line of mountInfo.split('\n')) {
    const field = line.split(' ')[4];
    if (field === undefined) continue;
    const mountPoint = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    const relative = relativeTo(directory, mountPoint);
    if (relative !== null && relative !== '') found.push(mountPoint);
  }
  return found;
}
