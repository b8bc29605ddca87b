import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorsPage } from './errors-page.ts';

/** `npm run docs`: writes the pages of deploy/docs that are made from the code. */

// dist/tools/docs/ when built.
const top = fileURLToPath(new URL(import.meta.url.includes('/dist/') ? '../../..' : '../..', import.meta.url));

for (const [name, text] of [['errors.md', errorsPage()]] as const) {
  const file = join(top, 'deploy/docs', name);
  writeFileSync(file, text);
  process.stdout.write(`${file}\n`);
}
