import { exitCodes } from '../../protocol/control.ts';
import type { AgentApi } from '../control/api.ts';
import type { NetworkControl } from '../network/network.ts';
import { systemClock } from '../platform/clock.ts';
import { Lines } from './lines.ts';

/** What the control socket can ask of this node's network. */
export function nicsApi(network: NetworkControl, node: string): Pick<AgentApi, 'nics' | 'assignNic' | 'swapNics' | 'identifyNics'> {
  return {
    async nics() {
      // First the roles: asking may switch a port on, and the ports are shown as they are then.
      const roles = await network.roles();
      const ports = await network.ports();
      return { node, at: new Date(systemClock.wallMs()).toISOString(), ports, roles, alarms: network.alarms() };
    },
    assignNic: (role, port, unproven) => network.assign(role, port, { unproven }),
    swapNics: (first, second, unproven) => network.swap(first, second, { unproven }),
    identifyNics: (seconds, blink, signal) =>
      Lines.of(signal, async (push) => {
        const over = new AbortController();
        const end = () => over.abort();
        const timer = systemClock.after(seconds * 1000, end);
        signal.addEventListener('abort', end);
        let events = 0;
        try {
          if (blink !== null) await network.blink(blink, seconds, over.signal);
          else {
            for await (const event of network.identify(over.signal)) {
              events++;
              push({ kind: 'port', event });
            }
          }
        } finally {
          timer.cancel();
          signal.removeEventListener('abort', end);
        }
        const summary =
          blink === null ? `${events} cable${events === 1 ? ' was' : 's were'} pulled or plugged` : `the light of ${blink} has blinked`;
        push({ kind: 'done', summary, exitCode: exitCodes.done, facts: { events } });
      }),
  };
}
