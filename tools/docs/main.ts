import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadAgent } from '../cli/agent-entry.ts';
import { describeCommands } from '../cli/program.ts';
import { packageVersion } from '../cli/version.ts';
import { commandsPage } from './commands-page.ts';
import { configurationPage } from './configuration-page.ts';
import { errorsPage } from './errors-page.ts';

/** `npm run docs`: writes the pages of deploy/docs that are made from the code. */

// dist/tools/docs/ when built.
const top = fileURLToPath(new URL(import.meta.url.includes('/dist/') ? '../../..' : '../..', import.meta.url));

const pages = {
  'commands.md': commandsPage(describeCommands(packageVersion())),
  'errors.md': errorsPage(),
  'configuration.md': configurationPage(await (await loadAgent()).configKeys()),
};

for (const [name, text] of Object.entries(pages)) {
  const file = join(top, 'deploy/docs', name);
  writeFileSync(file, text);
  process.stdout.write(`${file}\n`);
}
