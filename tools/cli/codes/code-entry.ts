/** What a code means, for a person who has just read it. Plain text with `commands` in backquotes; each text is whole sentences. */
export interface CodeEntry {
  /** What is the case. */
  means: string;
  /** Why that usually is; empty where the code tells of no trouble. */
  causes: readonly string[];
  /** What to do next. */
  next: string;
}

export type CodeEntries = Readonly<Record<string, CodeEntry>>;
