import { defineConfig } from 'vitest/config';
import { SlowestFirst } from './test/setup/slowest-first.ts';

const kinds = [
  // What `npm run check` runs too: seconds, no privilege, no server. They compute: they give way to those that wait for seconds to pass.
  { name: 'unit', testTimeout: 120_000 },
  { name: 'contract', testTimeout: 120_000 },
  { name: 'sim', testTimeout: 300_000 },
].map((kind) => ({ ...kind, hookTimeout: 60_000, setupFiles: ['test/setup/give-way.ts'] }));

/** Real servers in namespaces of their own. */
const endToEnd = { name: 'e2e', testTimeout: 600_000, hookTimeout: 180_000 };

export default defineConfig({
  test: {
    pool: 'forks',
    // More than the machine has cores, in one queue: what waits for servers leaves room for what computes.
    maxWorkers: 3,
    teardownTimeout: 60_000,
    sequence: { sequencer: SlowestFirst },
    // How long a machine takes that others use as well is no promise of any test.
    expect: { poll: { timeout: 30_000 } },
    projects: [...kinds, endToEnd].map((kind) => ({
      extends: true as const,
      test: { ...kind, include: [`test/${kind.name}/**/*.test.ts`] },
    })),
  },
});
