import { isName } from './byte-paths.ts';
import { limits } from './limits.ts';

/** Attributes of a file, directory or link. mtime is split because nanoseconds since 1970 do not fit a double. */
export interface Meta {
  mode: number;
  uid: number;
  gid: number;
  mtimeSec: number;
  mtimeNsec: number;
  /** Name and value of each extended attribute; absent when there are none. */
  xattrs?: [string, Buffer][];
}

/** A file's place: index into the batch's table of directories, and name (latin1 byte string). */
export interface Place {
  dir: number;
  name: string;
}

/** A part of a new file: bytes of the old version, or `length` bytes of the op's content. */
export type Piece = { from: number; length: number } | { literal: number };

/**
 * One change to a replica. `content` is a file's SHA-256 (32 bytes); `base` the first 16 bytes of the SHA-256 that the
 * replica's file must have for the op to apply.
 *
 * - `dir`: make a directory or set its attributes
 * - `put`: whole content, inline (`bytes`) or of a transfer that is staged (`transfer`, its number)
 * - `patch`: new version from pieces of the old one and literal content; an appended tail is one old piece and one literal
 * - `copy`: same content as `from` has
 * - `link`: another name of the same file as `from`
 * - `move`: rename of a file, link or whole directory
 * - `meta`: attributes only
 * - `symlink`: a symbolic link; its target is relative, or begins with `/` and leads from a root's directory on
 * - `remove`: a file, link, or whole directory (`tree`), which goes to history
 */
export type Op =
  | { op: 'dir'; at: Place; meta: Meta }
  | { op: 'put'; at: Place; meta: Meta; size: number; content: Buffer; bytes: Buffer }
  | { op: 'put'; at: Place; meta: Meta; size: number; content: Buffer; transfer: number }
  | {
      op: 'patch';
      at: Place;
      meta: Meta;
      size: number;
      content: Buffer;
      base: Buffer;
      pieces: Piece[];
      bytes: Buffer;
    }
  | { op: 'copy'; at: Place; from: Place; meta: Meta; size: number; content: Buffer }
  | { op: 'link'; at: Place; from: Place; base: Buffer }
  | { op: 'move'; at: Place; from: Place; base?: Buffer; tree: boolean; meta?: Meta }
  | { op: 'meta'; at: Place; meta: Meta; base?: Buffer }
  | { op: 'symlink'; at: Place; target: string; meta: Meta }
  | { op: 'remove'; at: Place; tree: boolean };

export type OpKind = Op['op'];

export class ProtocolError extends Error {
  readonly code = 'bad-message';
}

/** A number on the wire for each op; a number is never reused. */
const opNumbers: Record<OpKind, number> = {
  dir: 1,
  put: 2,
  patch: 3,
  copy: 4,
  link: 5,
  move: 6,
  meta: 7,
  symlink: 8,
  remove: 9,
};

function bad(what: string): never {
  throw new ProtocolError(`malformed op: ${what}`);
}

function int(value: unknown, min: number, max: number, what: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max)
    bad(`${what} is not a whole number from ${min} to ${max}`);
  return value;
}

function bytes(value: unknown, min: number, max: number, what: string): Buffer {
  if (!Buffer.isBuffer(value) || value.length < min || value.length > max) bad(`${what} is not ${min} to ${max} bytes`);
  return value;
}

/** Checks a name as it may stand in a directory (I11): no slash, NUL, `.`, `..`, and not too long. */
export function checkName(name: string): string {
  if (!isName(name)) {
    throw new ProtocolError(`not a file name: ${JSON.stringify(name.slice(0, 80))}`);
  }
  return name;
}

/** Checks a relative directory path (I11); '' is the root itself. */
export function checkDirPath(path: string): string {
  if (path.length > limits.pathBytesMax) throw new ProtocolError('a path is longer than 4095 bytes');
  if (path !== '') for (const part of path.split('/')) checkName(part);
  return path;
}

function packMeta(meta: Meta): unknown[] {
  const fields: unknown[] = [meta.mode, meta.uid, meta.gid, meta.mtimeSec, meta.mtimeNsec];
  if (meta.xattrs) fields.push(meta.xattrs.flat());
  return fields;
}

function unpackMeta(value: unknown): Meta {
  if (!Array.isArray(value) || value.length < 5 || value.length > 6) bad('attributes');
  const meta: Meta = {
    // Setuid, setgid on files and the like never come from the network (I11); setgid on directories is kept by the applier's own rule.
    mode: int(value[0], 0, limits.modeMax, 'mode'),
    uid: int(value[1], 0, limits.ownerMax, 'uid'),
    gid: int(value[2], 0, limits.ownerMax, 'gid'),
    mtimeSec: int(value[3], -limits.mtimeSecMax, limits.mtimeSecMax, 'mtime seconds'),
    mtimeNsec: int(value[4], 0, 999_999_999, 'mtime nanoseconds'),
  };
  if (value.length === 6) {
    const flat: unknown = value[5];
    if (!Array.isArray(flat) || flat.length % 2 !== 0 || flat.length > limits.xattrsMax * 2) bad('extended attributes');
    meta.xattrs = [];
    for (let i = 0; i < flat.length; i += 2) {
      const name: unknown = flat[i];
      if (
        typeof name !== 'string' ||
        !/^(user\..+|system\.posix_acl_(access|default))$/s.test(name) ||
        name.length > limits.xattrNameBytesMax ||
        name.includes('\0')
      )
        bad('extended attribute name');
      meta.xattrs.push([name, bytes(flat[i + 1], 0, limits.xattrBytesMax, 'extended attribute')]);
    }
    if (meta.xattrs.reduce((sum, [name, data]) => sum + name.length + data.length, 0) > limits.xattrsBytesMax) bad('extended attributes');
  }
  return meta;
}

/** Packs an op as the array that travels. */
export function packOp(op: Op): unknown[] {
  const head: unknown[] = [opNumbers[op.op], op.at.dir, packName(op.at.name)];
  switch (op.op) {
    case 'dir':
      head.push(packMeta(op.meta));
      break;
    case 'put':
      head.push(packMeta(op.meta), op.size, op.content, 'transfer' in op ? op.transfer : op.bytes);
      break;
    case 'patch':
      head.push(
        packMeta(op.meta),
        op.size,
        op.content,
        op.base,
        op.pieces.flatMap((p) => ('from' in p ? [p.from, p.length] : [-1, p.literal])),
        op.bytes,
      );
      break;
    case 'copy':
      head.push(op.from.dir, packName(op.from.name), packMeta(op.meta), op.size, op.content);
      break;
    case 'link':
      head.push(op.from.dir, packName(op.from.name), op.base);
      break;
    case 'move': {
      // A rename is mostly a changed ending: the old name travels as how much of the new one it keeps, and its rest.
      const keep = commonPrefix(op.from.name, op.at.name);
      head.push(op.from.dir, keep, packName(op.from.name.slice(keep)), op.base ?? null, op.tree, op.meta ? packMeta(op.meta) : null);
      break;
    }
    case 'meta':
      head.push(packMeta(op.meta), op.base ?? null);
      break;
    case 'symlink':
      head.push(packName(op.target), packMeta(op.meta));
      break;
    case 'remove':
      head.push(op.tree);
      break;
  }
  return head;
}

function commonPrefix(a: string, b: string): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}

/** ASCII travels as a string, anything else as bytes, so that a name costs its length in bytes. */
function packName(name: string): Buffer | string {
  return /^[\0-\x7f]*$/.test(name) ? name : Buffer.from(name, 'latin1');
}

function unpackName(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Buffer.isBuffer(value)) return value.toString('latin1');
  return bad('a name is neither text nor bytes');
}

/** How many fields each op has on the wire. */
const fieldCounts: Record<OpKind, number> = { dir: 4, put: 7, patch: 9, copy: 8, link: 6, move: 9, meta: 5, symlink: 5, remove: 4 };
const opKinds = new Map(Object.entries(opNumbers).map(([kind, number]) => [number, kind as OpKind]));

/**
 * Unpacks and checks one op. `dirs` is the number of entries in the batch's directory table so far.
 *
 * @throws ProtocolError when anything about it is not as PROTOCOL.md says.
 */
export function unpackOp(value: unknown, dirs: number): Op {
  if (!Array.isArray(value)) bad('not an array');
  const f = value as unknown[];
  const kind = opKinds.get(f[0] as number) ?? bad('unknown number');
  if (f.length !== fieldCounts[kind]) bad(`${kind} has ${f.length} fields, not ${fieldCounts[kind]}`);
  const dirNumber = (v: unknown) => int(v, 0, dirs - 1, 'directory number');
  const base = (v: unknown) => bytes(v, 16, 16, 'base');
  const size = (v: unknown) => int(v, 0, limits.fileBytesMax, 'size');
  const flag = (v: unknown) => (typeof v === 'boolean' ? v : bad('not a boolean'));
  const name = unpackName(f[2]);
  // Only the attributes of a root itself have no name.
  const at: Place = { dir: dirNumber(f[1]), name: kind === 'dir' && name === '' ? '' : checkName(name) };
  switch (kind) {
    case 'dir':
      return { op: kind, at, meta: unpackMeta(f[3]) };
    case 'put': {
      const op = { op: kind, at, meta: unpackMeta(f[3]), size: size(f[4]), content: bytes(f[5], 32, 32, 'SHA-256') };
      if (typeof f[6] === 'number') return { ...op, transfer: int(f[6], 0, Number.MAX_SAFE_INTEGER, 'transfer') };
      return { ...op, bytes: bytes(f[6], op.size, op.size, 'content') };
    }
    case 'patch': {
      const op: Op = {
        op: kind,
        at,
        meta: unpackMeta(f[3]),
        size: size(f[4]),
        content: bytes(f[5], 32, 32, 'SHA-256'),
        base: base(f[6]),
        pieces: unpackPieces(f[7]),
        bytes: bytes(f[8], 0, limits.frameBytesMax, 'content'),
      };
      let total = 0;
      let literal = 0;
      for (const piece of op.pieces) {
        total += 'from' in piece ? piece.length : piece.literal;
        if ('literal' in piece) literal += piece.literal;
      }
      if (total !== op.size || literal !== op.bytes.length) bad('pieces do not add up to the size');
      return op;
    }
    case 'copy':
      return {
        op: kind,
        at,
        from: { dir: dirNumber(f[3]), name: checkName(unpackName(f[4])) },
        meta: unpackMeta(f[5]),
        size: size(f[6]),
        content: bytes(f[7], 32, 32, 'SHA-256'),
      };
    case 'link':
      return { op: kind, at, from: { dir: dirNumber(f[3]), name: checkName(unpackName(f[4])) }, base: base(f[5]) };
    case 'move': {
      const keep = int(f[4], 0, at.name.length, 'prefix');
      const from: Place = { dir: dirNumber(f[3]), name: checkName(at.name.slice(0, keep) + unpackName(f[5])) };
      const op: Op = { op: kind, at, from, tree: flag(f[7]) };
      if (f[6] !== null) op.base = base(f[6]);
      if (f[8] !== null) op.meta = unpackMeta(f[8]);
      return op;
    }
    case 'meta': {
      const op: Op = { op: kind, at, meta: unpackMeta(f[3]) };
      if (f[4] !== null) op.base = base(f[4]);
      return op;
    }
    case 'symlink':
      return { op: kind, at, target: checkTarget(unpackName(f[3])), meta: unpackMeta(f[4]) };
    case 'remove':
      return { op: kind, at, tree: flag(f[3]) };
  }
}

const piecesMax = 200_000;

function unpackPieces(value: unknown): Piece[] {
  if (!Array.isArray(value) || value.length % 2 !== 0 || value.length > piecesMax * 2) bad('pieces');
  const pieces: Piece[] = [];
  for (let i = 0; i < value.length; i += 2) {
    const length = int(value[i + 1], 1, limits.fileBytesMax, 'piece');
    if (value[i] === -1) pieces.push({ literal: length });
    else pieces.push({ from: int(value[i], 0, limits.fileBytesMax, 'piece'), length });
  }
  return pieces;
}

/**
 * A link's target: relative to the link, `/REST` below the link's own root, `//NAME/REST` below the root of that name. That
 * it stays inside depends on the link's place and on the roots, and is checked where these are known.
 */
function checkTarget(target: string): string {
  // What is no byte would become another character where the link is made: U+012E a dot.
  if (target.length === 0 || target.length > limits.pathBytesMax || /\0|[^\0-\xff]/.test(target)) bad('link target');
  return target;
}
