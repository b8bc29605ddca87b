import type { HeldDeletionsAnswer } from '../../protocol/control.ts';
import { exitCodes } from '../../protocol/control.ts';
import type { Operator } from '../../protocol/takeover.ts';
import type { AgentApi } from '../control/api.ts';
import { OperatorError } from '../platform/errors.ts';
import { displayPath, joinPath } from '../platform/files.ts';
import type { HeldDeletion } from '../replicate/primary/held-deletions.ts';
import type { PrimaryRole } from '../replicate/primary/role.ts';
import type { RoleDisks } from './roles.ts';

/** Writes what a person decided into the audit log; durable when it resolves. */
export type Audit = (what: string, facts: Record<string, unknown>, by: Operator) => Promise<void>;

const nameOf = ({ root, place }: Pick<HeldDeletion, 'root' | 'place'>) => displayPath(joinPath(root, place));

/**
 * `mailtwin allow-delete`: without a place it only tells what is held; else exactly the named deletions go, and the copies
 * that are kept of what is left out, which go by their names alone.
 *
 * @throws OperatorError `not-held`, exit code 3: names that are no held deletion, all of them, and nothing was changed.
 */
export async function allowDelete(
  primary: PrimaryRole,
  request: Parameters<AgentApi['allowDelete']>[0],
  audit: Audit,
): Promise<HeldDeletionsAnswer> {
  const deletions = primary.deletions;
  const held = primary.holds
    .list()
    .filter(({ code }) => code === 'mass-delete')
    .map(({ root, path, detail }) => ({ place: displayPath(joinPath(root, path)), detail }));
  const kept = primary.keptPlaces().map((each) => ({ ...each, place: displayPath(joinPath(each.root, each.path)) }));
  held.push(...kept.map(({ place, detail }) => ({ place, detail })));
  if (!request.all && request.places.length === 0) return { held, released: [] };
  const wanted = request.places.map((place) => place.replace(/\/+$/, ''));
  const unknown = wanted.filter((name) => !deletions.some((each) => nameOf(each) === name) && !kept.some(({ place }) => place === name));
  if (unknown.length > 0) {
    const is = held.length === 0 ? 'nothing is held at all' : `held: ${held.map(({ place }) => place).join(', ')}`;
    throw new OperatorError(
      'not-held',
      `nothing is held at ${unknown.join(', ')}, and this cannot be overridden; ${is}.\n` +
        `REFUSED: ${unknown.length} of ${wanted.length} places ${unknown.length === 1 ? 'is' : 'are'} not held. Nothing was changed.`,
      '',
      exitCodes.refused,
    );
  }
  const chosen = deletions.filter((each) => request.all || wanted.includes(nameOf(each)));
  const copies = kept.filter(({ place }) => wanted.includes(place));
  const facts = [
    ...chosen.map((each) => ({ place: nameOf(each), files: each.files })),
    ...copies.map(({ place, files }) => ({ place, files })),
  ];
  await audit('delete-allowed', { places: facts }, request.by);
  const released = await primary.allowDelete(chosen);
  for (const { root, path } of copies) primary.releaseLeftOut(root, path);
  return {
    held,
    released: [
      ...released.map(({ root, path, files }) => ({ place: displayPath(joinPath(root, path)), files })),
      ...copies.map(({ place, files }) => ({ place, files })),
    ],
  };
}

/**
 * `mailtwin accept-root`: what stands at these roots, or at `root/path` the file system there, is right as it is now.
 *
 * @throws OperatorError `unknown-root`, exit code 3: nothing was changed.
 */
export async function acceptRoots(
  disks: RoleDisks,
  known: readonly string[],
  { names, by }: Parameters<AgentApi['acceptRoots']>[0],
  audit: Audit,
): Promise<{ accepted: string[]; same: string[] }> {
  const wanted = names.map((name) => name.replace(/\/+$/, ''));
  const unknown = wanted.find((name) => !known.includes(name.split('/')[0] ?? ''));
  if (unknown !== undefined)
    throw new OperatorError(
      'unknown-root',
      `there is no root ${unknown}; nothing was changed`,
      `roots: ${known.join(', ')}`,
      exitCodes.refused,
    );
  await audit('root-accepted', { roots: wanted }, by);
  const accepted = disks.accept(wanted);
  return { accepted, same: wanted.filter((name) => !accepted.includes(name)) };
}
