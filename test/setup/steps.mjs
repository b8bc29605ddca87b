/** What must hold before a test is worth running; each is an argument list for Node. */
export const staticSteps = [
  { name: 'format', args: ['node_modules/oxfmt/bin/oxfmt', '--check'] },
  { name: 'lint', args: ['node_modules/oxlint/bin/oxlint', '--type-aware', '--deny-warnings'] },
  { name: 'types of the product', args: ['node_modules/typescript/bin/tsc', '--noEmit', '-p', '.'] },
  { name: 'types of the tests', args: ['node_modules/typescript/bin/tsc', '--noEmit', '-p', 'test'] },
];

export const vitest = 'node_modules/vitest/vitest.mjs';
