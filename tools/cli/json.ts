/** Version of what `--json` prints; raised when a field changes its meaning or goes. New fields do not raise it. */
export const jsonVersion = 1;

/** One line of JSON for programs, with the version of its form (deploy/docs/json.md). */
export function jsonText(value: object): string {
  return JSON.stringify({ mailtwin: jsonVersion, ...value });
}
