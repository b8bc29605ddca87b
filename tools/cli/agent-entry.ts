import type { AgentEntry } from '../../protocol/control.ts';

/**
 * The one door from the command line to the agent. It is opened only when a command needs it, so that help and usage
 * errors come without loading a database and a C library.
 */
export async function loadAgent(): Promise<AgentEntry> {
  const agent = await import('../../agent/main.ts');
  return agent satisfies AgentEntry;
}
