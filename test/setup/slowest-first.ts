import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take long, the longest first. On a machine that has not run them yet, vitest would go by their size. */
const slow = [
  'e2e/whole-takeover',
  'e2e/bad-input',
  'e2e/failover',
  'e2e/mail-queue',
  'e2e/guards',
  'e2e/taken-away',
  'e2e/takeover-fence-devices',
  'e2e/wire-size',
  'e2e/replication',
  'e2e/put-back',
  'e2e/debian-13',
  'e2e/process',
  'e2e/network',
  'e2e/setup',
  'e2e/names',
  'e2e/taken-away-pair',
  'e2e/fencing',
  'e2e/foreign',
  'e2e/scrub',
  'e2e/killed-takeover',
  'e2e/takeover',
  'e2e/mixed-pair',
  'e2e/salvage',
  'e2e/doctor',
  'e2e/kill',
  'e2e/exchanged-parent',
  'e2e/page',
  'e2e/nine-o-clock',
  'e2e/lab',
  'e2e/monitoring',
  'e2e/upgrade',
  'e2e/torn',
  'e2e/takeover-hardware',
  'e2e/fence-agents',
  'e2e/notices',
  'e2e/raise',
  'e2e/left-out',
  'e2e/file-systems',
  'e2e/slow-disk',
  'e2e/dovecot-stop',
  'sim/world-history',
  'sim/transfers',
  'sim/exchanged-parent',
  'sim/history',
  'contract/watcher.slow',
  'unit/certificates',
  'unit/mailgen.slow',
  'unit/link.slow',
  'contract/exec',
  'sim/put-back',
  'contract/store-damage',
  'contract/kv',
  'sim/closing',
  'sim/mounts-standby',
  'unit/notices',
  'unit/doorkeeper',
  'unit/damaged-mail-files',
  'unit/monitoring',
  'sim/deletions',
  'sim/scrub-history',
  'sim/fill',
  'sim/errors-anywhere',
  'unit/foreign-watch',
  'contract/hand-over.slow',
  'contract/beneath',
  'sim/scrub',
  'unit/history',
];

/**
 * Begins with the longest files, so that no worker is left alone with one at the end, and mixes those that wait for
 * servers evenly with those that compute.
 */
export class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = slow.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
      return at < 0 ? slow.length : at;
    };
    // What is equal here stays as it was.
    const sorted = (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
    const waiting = sorted.filter(({ project }) => project.name === 'e2e');
    const computing = sorted.filter(({ project }) => project.name !== 'e2e');
    const placed = (list: TestSpecification[]) => list.map((file, i) => ({ file, at: i / list.length }));
    return [...placed(waiting), ...placed(computing)].toSorted((a, b) => a.at - b.at).map(({ file }) => file);
  }
}
