import type { Context } from '../context.ts';
import { sandboxText } from './sandbox.ts';
import { jsonText } from '../json.ts';

export interface InitFlags {
  config: string;
  role: string;
  node: string;
  root: string[];
  listen: string;
  state: string;
  metrics: string;
  json?: boolean;
}

export async function init(context: Context, flags: InitFlags): Promise<number> {
  const agent = await context.loadAgent();
  const { role, node, listen, state, metrics } = flags;
  const made = await agent.initNode({ file: flags.config, role, node, roots: flags.root, listen, state, metrics });
  const { terminal } = context;
  if (flags.json) terminal.print(jsonText(made));
  else {
    terminal.print(`configuration  ${made.file}`);
    terminal.print(`state          ${made.state}`);
    terminal.print(`fingerprint    ${made.fingerprint}`);
    if (made.sandbox !== null && made.sandbox.lines.length > 0) terminal.print(`sandbox        ${sandboxText(made.sandbox)}`);
    const option = flags.config === '/etc/mailtwin/mailtwin.yaml' ? '' : ` --config ${flags.config}`;
    terminal.print(
      role === 'primary'
        ? `Next: look at the configuration, start the agent (mailtwin run${option}), then make a pairing code with: mailtwin pair${option}`
        : `Next: look at the configuration, pair with the code of the primary (mailtwin pair HOST:PORT${option}), then start the agent: mailtwin run${option}`,
    );
  }
  return 0;
}
