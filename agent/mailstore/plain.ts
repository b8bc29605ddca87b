import type { Classified, MailstoreFormat } from './format.ts';

const anything: Classified = Object.freeze({ ignored: false, class: 'plain', mailbox: null, applyOrder: 0, immutable: false });

/** A tree of which nothing is known: every file goes alone, nothing is left out. */
export const plainFormat: MailstoreFormat = {
  name: 'plain',
  classify: () => anything,
  locks: () => [],
  sealOrder: () => null,
  sealPrefixes: [],
  wholeLength: (_name, data) => ({ ok: true, length: data.length }),
  isUidlist: () => false,
  namedMessages: () => [],
  baseOf: (name) => name,
  removals: () => null,
  marks: () => null,
};
