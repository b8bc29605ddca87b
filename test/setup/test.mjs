import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from './build.mjs';
import { ensureDebianPackages } from './debian-packages.mjs';
import { ensureNodeModules } from './node-modules.mjs';
import { run, runNodeSteps, top } from './run.mjs';
import { staticSteps, vitest } from './steps.mjs';
import { countTests, slowest, summaryLine } from './summary.mjs';

// `npm test`: sets the machine up, builds, and runs everything. Arguments go to vitest: `npm test -- --project e2e`.
const start = performance.now();
/** How many of the slowest files and tests the summary names. */
const slowestShown = 10;
if (!ensureNodeModules()) process.exit(1);
/** @type {string[]} */
const failedSteps = [];
if (!(await ensureDebianPackages())) failedSteps.push('packages');
if (process.getuid?.() !== 0) process.stdout.write('Not root: tests that need network namespaces or mounts are skipped.\n');
failedSteps.push(...(await runNodeSteps(staticSteps)));
// The end-to-end tests run what was built; without it their failures would say nothing.
if (!build()) failedSteps.push('build');
const tests = failedSteps.includes('build') ? { passed: 0, failed: 0, skipped: 0 } : runTests();
process.stdout.write(`npm test took ${((performance.now() - start) / 60_000).toFixed(1)} minutes\n`);
if (failedSteps.length > 0) process.stdout.write(`failed: ${failedSteps.join(', ')}\n`);
// A failed step counts as a failure, so that this line, the last one, never looks better than the exit code.
process.stdout.write(`${summaryLine({ ...tests, failed: tests.failed + failedSteps.length })}\n`);
process.exitCode = tests.failed + failedSteps.length === 0 ? 0 : 1;

/** Runs vitest and counts from its report; when it fails and the report shows no failure, that is a failed step. */
function runTests() {
  const dir = mkdtempSync(join(tmpdir(), 'mailtwin-report-'));
  const file = join(dir, 'report.json');
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
    const code = run(process.execPath, [vitest, 'run', ...reporters, ...process.argv.slice(2)]);
    const report = JSON.parse(readFileSync(file, 'utf8'));
    const counts = countTests(report);
    process.stdout.write(`${slowest(report, top, slowestShown).join('\n')}\n`);
    if (code !== 0 && counts.failed === 0) failedSteps.push('vitest');
    return counts;
  } catch (error) {
    process.stderr.write(`no report of the tests: ${error instanceof Error ? error.message : String(error)}\n`);
    failedSteps.push('vitest');
    return { passed: 0, failed: 0, skipped: 0 };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
