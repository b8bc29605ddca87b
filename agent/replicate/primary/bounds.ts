import { limits } from '../../../protocol/limits.ts';
import { mtimeNsMax, type BytePath, type Stat, type Xattrs } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';
import type { PrimaryParts } from './context.ts';

/** The extended attributes of a place as they are carried; what does not fit is in doubt by name. */
export function attributesOf(p: PrimaryParts, root: Root, path: BytePath, stat: Stat): Xattrs | null {
  return carried(p, root, path, stat, p.files.xattrs(absolute(root, path)));
}

/**
 * What index and wire can hold of a place's attributes (protocol/limits.ts is the table). Content comes first: a file with
 * more than that travels without it, and is in doubt by path and reason.
 */
export function carried(p: PrimaryParts, root: Root, path: BytePath, stat: Stat, found: Xattrs | null): Xattrs | null {
  const { xattrs, beyond } = withinBounds(stat, found);
  if (beyond === null) p.unproven.fits(root.name, path);
  else p.unproven.add(root.name, path, beyond, 'bounds');
  return xattrs;
}

/** Pure. ACLs are kept as long as they fit, because permissions rest on them; of the others all or none. */
export function withinBounds(stat: Stat, found: Xattrs | null): { xattrs: Xattrs | null; beyond: string | null } {
  const tooFar = stat.kind !== 'dir' && (stat.mtimeNs >= mtimeNsMax || stat.mtimeNs <= -mtimeNsMax);
  const time = tooFar ? 'its modification time is further from now than can be replicated' : null;
  const isPossible = (value: Buffer, name: string) => value.length <= limits.xattrBytesMax && name.length <= limits.xattrNameBytesMax;
  if (found === null || (fits(found) && [...found].every(([name, value]) => isPossible(value, name))))
    return { xattrs: found, beyond: time };
  const acls = new Map([...found].filter(([name, value]) => !name.startsWith('user.') && isPossible(value, name)));
  const xattrs = acls.size > 0 && fits(acls) ? acls : null;
  const beyond = `it has ${found.size} extended attributes of ${bytesOf(found)} bytes; at most ${limits.xattrsMax} of ${limits.xattrsBytesMax} bytes are replicated`;
  return { xattrs, beyond: time === null ? beyond : `${beyond}; ${time}` };
}

function fits(xattrs: Xattrs): boolean {
  return xattrs.size <= limits.xattrsMax && bytesOf(xattrs) <= limits.xattrsBytesMax;
}

function bytesOf(xattrs: Xattrs): number {
  let bytes = 0;
  for (const [name, value] of xattrs) bytes += name.length + value.length;
  return bytes;
}
