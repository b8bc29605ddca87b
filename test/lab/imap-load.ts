import { setTimeout as pause } from 'node:timers/promises';
import { MessageMaker } from '../../tools/mailgen/message.ts';
import { Random } from '../../tools/mailgen/random.ts';
import type { Dovecot } from './dovecot.ts';
import { LmtpClient } from './lmtp-client.ts';
import { LoadClient, usualSteps, type ImapStep } from './load-client.ts';
import { LoadRecord } from './load-record.ts';
import { UserFolders } from './user-folders.ts';

export interface LoadOptions {
  dovecot: Pick<Dovecot, 'imap' | 'lmtp' | 'password' | 'isRunning'>;
  /** Printed with every failure. The order of answers also decides, so a seed repeats the mix of work, not each step. */
  seed: string | number;
  /** How long to work, at least. */
  seconds: number;
  /** Works on until the record has so many messages that a server took: a slow machine gets fewer in the same time. */
  acknowledgedMin?: number;
  users?: readonly string[];
  /** IMAP clients, dealt out to the users in turn. Default 4. */
  imapClients?: number;
  /** LMTP connections. Default 2. */
  lmtpClients?: number;
  /** Mean pause of a client between two steps, so that a machine with few cores is not at its limit. Default 10. */
  pauseMs?: number;
  /** When given, kinds without a weight are not done. */
  weights?: Partial<Record<ImapStep, number>>;
  /** Mailboxes of a public namespace, made when missing; every user works in them too. */
  sharedMailboxes?: readonly string[];
  /** The server may be killed under the load: then the clients end quietly. */
  serverMayDie?: boolean;
  /** Ends the load early. */
  signal?: AbortSignal;
  /** Taken when several loads follow each other on one store. */
  record?: LoadRecord;
}

/** Beyond its time a load goes on for no longer than this. */
const longerMs = 180_000;

export const usualUsers: readonly string[] = ['anna', 'bert', 'carla'];

/** Lets several IMAP clients and LMTP deliverers work at once. @throws the first answer that no race explains. */
export async function runLoad(options: LoadOptions): Promise<LoadRecord> {
  const { dovecot, users = usualUsers, pauseMs = 10, serverMayDie = false, acknowledgedMin = 0 } = options;
  const record = options.record ?? new LoadRecord();
  const deadlineMs = performance.now() + options.seconds * 1000;
  let hasFailed = false;
  // No AbortSignal.any with a timeout: Node 20 may collect it as garbage, and then it never fires.
  const isOver = () => {
    if (hasFailed || options.signal?.aborted === true) return true;
    return performance.now() >= deadlineMs + (record.acknowledged.length >= acknowledgedMin ? 0 : longerMs);
  };
  const random = (name: string) => new Random(`${options.seed}/${name}`);
  const folders = new Map(users.map((user) => [user, new UserFolders()]));
  const none = Object.fromEntries(Object.keys(usualSteps).map((step) => [step, 0])) as Record<ImapStep, number>;
  const weights = options.weights ? { ...none, ...options.weights } : usualSteps;

  const clients = Array.from({ length: options.imapClients ?? 4 }, (_, i) => {
    const user = users[i % users.length] ?? '';
    return new LoadClient({
      endpoint: dovecot.imap,
      user,
      password: dovecot.password,
      random: random(`imap${i}`),
      maker: new MessageMaker(random(`mail${i}`)),
      record,
      folders: folders.get(user) ?? new UserFolders(),
      weights,
      shared: options.sharedMailboxes ?? [],
    });
  });
  // One after the other: creating the same mailbox twice at once is a race that no test needs.
  for (const client of clients) await client.prepare();

  const work = async (name: string, step: () => Promise<void>) => {
    const pacing = random(`pause ${name}`);
    try {
      while (!isOver()) {
        await step();
        await pause(pacing.unit() * 2 * pauseMs);
      }
    } catch (error) {
      if (serverMayDie && !dovecot.isRunning) return;
      hasFailed = true;
      throw new Error(`${name} with seed ${options.seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  };
  const results = await Promise.allSettled([
    ...clients.map(async (client, i) => {
      await work(`IMAP client ${i}`, () => client.step());
      await client.close().catch(() => {});
    }),
    ...Array.from({ length: options.lmtpClients ?? 2 }, (_, i) => deliver(i)),
  ]);
  await Promise.allSettled(clients.map((client) => client.close()));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return record;

  async function deliver(i: number): Promise<void> {
    const chance = random(`lmtp${i}`);
    const maker = new MessageMaker(random(`post${i}`));
    let client: LmtpClient | null = null;
    await work(`LMTP client ${i}`, async () => {
      client ??= await LmtpClient.open(dovecot.lmtp);
      const recipients = users.filter(() => chance.chance(0.4));
      if (recipients.length === 0) recipients.push(chance.pick(users));
      const message = maker.make(1_700_000_000 + chance.int(0, 30_000_000), 'list@example.org');
      const { messageId } = message;
      const answers = await client.deliver('sender@example.com', recipients, message.bytes);
      record.count('lmtp');
      for (const { recipient, accepted, text } of answers) {
        if (!accepted) throw new Error(`delivery to ${recipient} refused: ${text}`);
        record.acknowledge({ user: recipient, mailbox: 'INBOX', messageId, via: 'lmtp', atMs: performance.now() });
      }
    });
    await (client as LmtpClient | null)?.close();
  }
}
