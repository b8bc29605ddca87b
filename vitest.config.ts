import { defineConfig } from 'vitest/config';
import { SlowestFirst } from './test/setup/slowest-first.ts';

const kinds = [
  // What `npm run check` runs too: seconds, no privilege, no server.
  { name: 'unit', testTimeout: 120_000 },
  { name: 'contract', testTimeout: 120_000 },
  { name: 'sim', testTimeout: 300_000 },
];

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    teardownTimeout: 60_000,
    sequence: { sequencer: SlowestFirst },
    // How long a machine takes that others use as well is no promise of any test.
    expect: { poll: { timeout: 30_000 } },
    projects: [
      ...kinds.map(({ name, testTimeout }) => ({
        extends: true as const,
        test: { name, include: [`test/${name}/**/*.test.ts`], testTimeout, hookTimeout: 60_000, sequence: { groupOrder: 0 } },
      })),
      {
        // Real servers in namespaces of their own. They wait more than they compute, so there are more of them at a time than cores.
        extends: true as const,
        test: {
          name: 'e2e',
          maxWorkers: 3,
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
