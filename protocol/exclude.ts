/**
 * What is left out of a root unless its configuration says otherwise. Patterns in the style of .gitignore, the same on
 * both nodes.
 *
 * In a maildir root the names of snapshot directories count at its top alone: deeper, `.snapshots` is the folder
 * `snapshots` of a user (Maildir++).
 */
export const defaultExcludes = {
  maildir: [
    '/.snapshot/',
    '/.snapshots/',
    '/.zfs/',
    'lost+found/',
    'xapian-indexes/',
    'fts-flatcurve/',
    'lucene-indexes/',
    '**/solr/**/data/index/',
  ],
  plain: ['.snapshot/', '.snapshots/', '.zfs/', 'lost+found/'],
} as const;

/**
 * Full-text indexes: the mail server makes them anew from the mail (`doveadm fts rescan`). They are written in place all
 * the time, and a copy of one is soon damaged.
 */
export const derivedExcludes: readonly string[] = ['xapian-indexes/', 'fts-flatcurve/', 'lucene-indexes/', '**/solr/**/data/index/'];
