import { z } from 'zod';
import { limits } from './limits.ts';

/**
 * What the file systems of a node can do, told when a connection begins: comparison goes as far as both can, and people are
 * told of the rest. Null where a node cannot know without writing, which a primary never does below its roots.
 */
const name = z.string().max(255);
const whole = z.number().int().min(-Number.MAX_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER);

export const rootAbilitiesSchema = z.strictObject({
  root: z.string().max(limits.textBytesMax),
  /** Steps in which modification times are kept, in nanoseconds. */
  timeStepNs: whole.nullable(),
  /** Seconds since 1970 of the first and the last time that is kept. */
  timeMinSec: whole.nullable(),
  timeMaxSec: whole.nullable(),
  acls: z.boolean(),
  attributes: z.boolean(),
  /** `Box` and `box` are one name. */
  foldsCase: z.boolean().nullable(),
  /** An accent of its own and a letter with it are one name. */
  normalises: z.boolean().nullable(),
  nameBytesMax: whole.nullable(),
});

export const ownerNameSchema = z.strictObject({
  kind: z.enum(['user', 'group']),
  id: z.number().int().min(0).max(limits.ownerMax),
  /** Null where the node knows no name. */
  name: name.nullable(),
});

export const ownersToldMax = 100;

export const abilitiesSchema = z.strictObject({
  roots: z.array(rootAbilitiesSchema).max(limits.rootsMax),
  /** Whether the agent may give a file any owner. */
  anyOwner: z.boolean(),
  selinux: z.enum(['enforcing', 'permissive', 'off']),
  /** Names of the numbers that own the mail; a standby tells its names of the primary's numbers, too. */
  owners: z.array(ownerNameSchema).max(ownersToldMax * 2),
});

export type RootAbilities = z.infer<typeof rootAbilitiesSchema>;
export type OwnerName = z.infer<typeof ownerNameSchema>;
export type NodeAbilities = z.infer<typeof abilitiesSchema>;
