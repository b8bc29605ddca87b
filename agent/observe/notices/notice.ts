import type { AgentEvent } from '../../../protocol/control.ts';

/** Something that a person should hear of. `bad`: act now. `warn`: look soon. `good`: it is over. `info`: it happened. */
export type Notice = AgentEvent;
