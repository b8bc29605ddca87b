import type { AgentEntry } from '../../protocol/control.ts';
import { controlClient, type ControlClient } from './control-client.ts';
import type { Terminal } from './terminal.ts';

/** What commands need of the world; handed in. */
export interface Context {
  terminal: Terminal;
  loadAgent(): Promise<AgentEntry>;
  wallMs: () => number;
  monotonicMs: () => number;
  /** Resolves after the time, or at once when the signal fires. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** Options that every command has. */
export interface CommonOptions {
  config: string;
  json?: boolean;
}

/** The running agent that a configuration file belongs to. */
export async function agentOf(context: Context, configFile: string): Promise<ControlClient> {
  const agent = await context.loadAgent();
  return controlClient(await agent.stateDirOf(configFile));
}
