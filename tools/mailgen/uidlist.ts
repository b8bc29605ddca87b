/** One line of a uidlist: the base name is the file name up to `:2,`. */
export interface UidEntry {
  uid: number;
  base: string;
}

/** Dovecot's `dovecot-uidlist`, version 3. */
export interface UidList {
  uidValidity: number;
  uidNext: number;
  /** 32 hex digits. */
  guid: string;
  entries: UidEntry[];
}

export function formatUidList(list: UidList): string {
  const lines = [`3 V${list.uidValidity} N${list.uidNext} G${list.guid}`];
  for (const entry of list.entries) lines.push(formatUidEntry(entry));
  return `${lines.join('\n')}\n`;
}

export function formatUidEntry(entry: UidEntry): string {
  return `${entry.uid} :${entry.base}`;
}

/**
 * Reads a uidlist. The header's N may be stale, so UIDNEXT is at least the last UID + 1.
 *
 * @throws when the text is not a version 3 uidlist.
 */
export function parseUidList(text: string): UidList {
  const lines = text.split('\n');
  const head = lines[0] ?? '';
  const uidValidity = Number(/ V(\d+)/.exec(head)?.[1]);
  const guid = / G([0-9a-f]{32})/.exec(head)?.[1];
  if (!head.startsWith('3 ') || !Number.isInteger(uidValidity) || guid === undefined)
    throw new Error(`not a uidlist: ${head.slice(0, 80)}`);
  const entries: UidEntry[] = [];
  for (const line of lines.slice(1)) {
    if (line === '') continue;
    const match = /^(\d+) (?:[^:]* )?:(.+)$/.exec(line);
    if (!match) throw new Error(`not a uidlist line: ${line.slice(0, 80)}`);
    entries.push({ uid: Number(match[1]), base: match[2] as string });
  }
  const last = entries.at(-1)?.uid ?? 0;
  return { uidValidity, uidNext: Math.max(Number(/ N(\d+)/.exec(head)?.[1] ?? 1), last + 1), guid, entries };
}
