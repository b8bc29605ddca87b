import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take long, the longest first. On a machine that has not run them yet, vitest would go by their size. */
const slow = [
  'e2e/taken-away',
  'e2e/whole-takeover',
  'e2e/takeover-fence-devices',
  'e2e/failover',
  'e2e/debian-13',
  'e2e/replication',
  'e2e/put-back',
  'e2e/mixed-pair',
  'e2e/process',
  'e2e/nine-o-clock',
  'e2e/names',
  'e2e/network',
  'e2e/wire-size',
  'e2e/guards',
  'e2e/bad-input',
  'e2e/setup',
  'e2e/foreign',
  'e2e/takeover',
  'e2e/kill',
  'e2e/killed-takeover',
  'e2e/doctor',
  'e2e/monitoring',
  'e2e/lab',
  'e2e/page',
  'sim/transfers',
  'sim/history',
  'unit/mailgen.slow',
  'sim/put-back',
  'contract/watcher.slow',
  'sim/closing',
  'sim/world-history',
  'sim/broken',
  'unit/link.slow',
  'sim/mounts-standby',
  'sim/fill',
];

/** Begins with the longest files, so that no worker is left alone with one at the end. */
export class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = slow.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
      return at < 0 ? slow.length : at;
    };
    // Both orders keep a kind of test before the next one; what is equal here stays as it was.
    return (await super.sort(files)).toSorted(
      (a, b) => a.project.config.sequence.groupOrder - b.project.config.sequence.groupOrder || rank(a) - rank(b),
    );
  }
}
