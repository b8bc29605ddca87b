/**
 * Counts the tests of vitest's JSON report. A file that failed without a failed test of its own (it did not load, or a
 * hook failed) counts as one failure.
 *
 * @param {{ testResults: { status: string, assertionResults: { status: string }[] }[] }} report
 * @returns {{ passed: number, failed: number, skipped: number }}
 */
export function countTests({ testResults }) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { status, assertionResults } of testResults) {
    const failedBefore = counts.failed;
    for (const result of assertionResults) {
      if (result.status === 'passed') counts.passed++;
      else if (result.status === 'failed') counts.failed++;
      else counts.skipped++;
    }
    if (status === 'failed' && counts.failed === failedBefore) counts.failed++;
  }
  return counts;
}

/** @param {{ passed: number, failed: number, skipped: number }} counts */
export function summaryLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/**
 * What took longest, in seconds: test files by their whole time, and single tests. A file's time says what its tests cost
 * one after another, so two files that ran side by side count twice.
 *
 * @param {{ testResults: { name: string, startTime: number, endTime: number,
 *   assertionResults: { fullName: string, duration?: number | null }[] }[] }} report
 * @param {string} top Directory of the project, which is taken off the names.
 * @param {number} count How many of each.
 * @returns {string[]} Lines.
 */
export function slowest({ testResults }, top, count) {
  const shown = (/** @type {string} */ name) => (name.startsWith(`${top}/`) ? name.slice(top.length + 1) : name);
  const files = testResults.map(({ name, startTime, endTime }) => ({ ms: endTime - startTime, what: shown(name) }));
  const tests = testResults.flatMap(({ name, assertionResults }) =>
    assertionResults.map(({ fullName, duration }) => ({ ms: duration ?? 0, what: `${shown(name)}: ${fullName}` })),
  );
  const lines = (/** @type {{ ms: number, what: string }[]} */ list) =>
    list
      .toSorted((a, b) => b.ms - a.ms)
      .slice(0, count)
      .map(({ ms, what }) => `${(ms / 1000).toFixed(1).padStart(7)} s  ${what}`);
  return ['slowest files:', ...lines(files), 'slowest tests:', ...lines(tests)];
}
