/** What `systemctl show` prints of several units: one map of properties for each, in the order in which they were named. */
export function unitProperties(text: string): Map<string, string>[] {
  return text
    .trim()
    .split(/\n\s*\n/)
    .map(
      (paragraph) =>
        new Map(paragraph.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1).trim()])),
    );
}
