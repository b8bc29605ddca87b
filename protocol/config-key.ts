/** One key of the configuration file, as its schema describes it: the ground of the manual and of the documentation. */
export interface ConfigKey {
  /** With its sections: `capture.settleMs`, `roots[].path`. */
  key: string;
  /** What may stand there. */
  form: string;
  /** The default as the file would have it, or in words; null: the key is required. */
  fallback: string | null;
  /** Of a bare number; null for everything else. */
  unit: string | null;
  /** What it means, in whole sentences; empty where the schema says nothing, which a test refuses. */
  means: string;
}
