import { z } from 'zod';
import { limits } from './limits.ts';

/** A byte string (latin1): one character a byte. */
export const byteString = z
  .string()
  .max(limits.pathBytesMax)
  .regex(/^[\0-\xff]*$/);

/** Whether a name may stand in a directory (I11): no slash, NUL, `.`, `..`, and not too long. */
export function isName(name: string): boolean {
  return name.length > 0 && name.length <= limits.nameBytesMax && name !== '.' && name !== '..' && !/[\0/]|[^\0-\xff]/.test(name);
}

/** Whether a path leads from a root to what is below it (I11); '' is the root itself. */
export function isPath(path: string): boolean {
  return path.length <= limits.pathBytesMax && (path === '' || path.split('/').every(isName));
}

/** A path below a root. Nothing that travels as one leads out, whatever is done with it. */
export const bytePath = byteString.refine(isPath, 'no path below a root');
/** A name in a directory. */
export const byteName = byteString.refine(isName, 'no file name');
