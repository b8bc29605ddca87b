import { findServerVersion } from './parts.ts';

/** The version of this host's mail server, for example `dovecot 2.3.19.1`; null = there is none. An upgrade changes it under a running agent. */
export interface MailServerVersion {
  /** As it was last read. */
  readonly last: string | null;
  /** Asks the server's own program now. */
  read(): Promise<string | null>;
}

export async function mailServerVersion(find: () => Promise<string | null> = findServerVersion): Promise<MailServerVersion> {
  let last = await find();
  return {
    get last() {
      return last;
    },
    async read() {
      last = await find();
      return last;
    },
  };
}
