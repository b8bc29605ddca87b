import { z } from 'zod';

/** Certificates that a mail server shows to its clients. Each node has files of its own. */

/** Bounds of what a node tells of its certificate (I12). */
export const certificateLimits = { namesMax: 20, nameCharsMax: 255 } as const;

/** What a node tells the other one of the certificate that clients see who ask for no name. */
export const certificateToldSchema = z.strictObject({
  /** Host names that it is for, sorted. */
  names: z.array(z.string().max(certificateLimits.nameCharsMax)).max(certificateLimits.namesMax),
  /** Wall clock, milliseconds since 1970. */
  endsMs: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
});
export type CertificateTold = z.infer<typeof certificateToldSchema>;

/** One certificate of a mail server's configuration, as its file was last read. */
export interface CertificateStatus {
  /** For which name of the server clients see it; `default` for all others. Of Postfix `postfix`, and `postfix SERVICE` of a service with files of its own. */
  name: string;
  file: string;
  /** Host names that it is for, sorted; empty when it cannot be read. */
  names: string[];
  /** ISO 8601; null when it cannot be read. */
  endsAt: string | null;
  /** What is wrong with the files, whatever the date; null when nothing is. */
  problem: string | null;
}
