import { z } from 'zod';

/** Which releases a node runs: the two of a pair differ while one of them is upgraded and the other is not yet. */

const text = z.string().max(200).nullable();

/** What a node tells the other one, as it was last read there. */
export const releasesSchema = z.strictObject({
  /** The system, for example `debian 12`; null where it names no release. */
  system: text,
  /** For example `dovecot 2.3.19.1`; null when none answers. */
  mailServer: text,
  /** `dovecot_storage_version` of a Dovecot that has it (2.4); null where it has none, or does not tell. */
  storageVersion: text,
});
export type Releases = z.infer<typeof releasesSchema>;
