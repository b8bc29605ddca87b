import { activating, active, held, quiesced, settling, starting } from './rows-primary.ts';
import { fenced, passive, steppingDown, takingOver } from './rows-standby.ts';
import type { RoleTable } from './role-types.ts';

/**
 * Every state and every event of the role machine. A row is a state; a cell that is missing does not compile.
 *
 * - `roleTable[state][event](role, event)`: next role and effects. Call it through `transition`, which checks the invariants.
 */

export const roleTable: RoleTable = {
  starting,
  settling,
  held,
  activating,
  active,
  quiesced,
  steppingDown,
  passive,
  takingOver,
  fenced,
};
