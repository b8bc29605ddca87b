import { queueText } from '../../../protocol/queue.ts';
import { pass, serves, warn, type Check } from './finding.ts';

/** Mail that the MTA has accepted and not delivered: it is not replicated, so it must at least be seen. */
export const queueChecks: Check[] = [
  {
    id: 'mail-queue',
    async run(facts) {
      const { config, node } = facts;
      if (!config.services) return [];
      const queue = await node.queue();
      if (queue.is === 'none') {
        if (config.services.queue === 'none') return [pass('mail-queue', 'no mail queue is watched', queue.why)];
        return [
          warn(
            'mail-queue',
            'nobody counts the mail that waits in the queue of an MTA on this node, which is not replicated',
            queue.why,
            'where an MTA runs here, name its queue: `queue: { postfix: /var/spool/postfix }` in `services:`, else `queue: none`; then start the agent again',
          ),
        ];
      }
      const { places, reading } = queue;
      const where = places.map(({ mta, dir }) => `${mta} in ${dir}`).join(', ');
      if (reading.messages === null)
        return [
          warn(
            'mail-queue',
            'the mail that waits on this node cannot be counted',
            `${where}: ${reading.why}`,
            'name the directory where the queue lies as `queue` in `services:`, and run the agent as a user who may read it (root)',
          ),
        ];
      const text = queueText(config.node, reading);
      if (reading.messages > 0 && serves(facts) === false)
        return [
          warn(
            'mail-queue',
            `${text}, and nobody delivers them: this node is not active`,
            where,
            'they are delivered when this node is active again; to bring them to the active node, see "Mail in the queue of the other node" in the runbook',
          ),
        ];
      return [pass('mail-queue', text, where)];
    },
  },
];
