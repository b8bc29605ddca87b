import { z } from 'zod';
import type { StreamLine } from './control.ts';
import { queueReadingSchema } from './queue.ts';
import { limits } from './limits.ts';
import { roleSchema } from './role.ts';

/**
 * The takeover's words: the plan as a file, what the command line asks of the agent, and what one node asks of the
 * other. Everything that arrives is checked with the schemas here; the command line and both agents share them.
 *
 * Times are ISO 8601 in UTC, durations in seconds unless a name says otherwise.
 */

const text = z.string().max(limits.textBytesMax);
const time = z.iso.datetime();
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const epoch = z.number().int().min(0).max(limits.numberMax);
const seconds = z.number().min(0).max(Number.MAX_SAFE_INTEGER);

export const takeoverKinds = ['switchover', 'failover'] as const;
export type TakeoverKind = (typeof takeoverKinds)[number];

/** Every guard by its name, in the order in which they are shown. `--override` takes one of these. */
export const guardNames = [
  'role',
  'other-takeover',
  'local-health',
  'initial-fill',
  'unproven',
  'foreign-writes',
  'damaged-files',
  'last-verify',
  'predicted-loss',
  'peer-state',
  'isolation',
  'fence-path',
  'agent-version',
  'mail-server-version',
  'disk-space',
  'nic-roles',
  'addresses-free',
  'mail-config',
  'mail-units',
  'clock-skew',
  'replication',
] as const;
export type GuardName = (typeof guardNames)[number];
export const guardNameSchema = z.enum(guardNames);

export const guardResultSchema = z.strictObject({
  guard: guardNameSchema,
  level: z.enum(['pass', 'warn', 'fail']),
  summary: text,
  /** What was read, where and when. */
  evidence: text,
  /** Empty when there is nothing to do. */
  remedy: text,
  /** Whether `--override` of this guard is taken at all. */
  overridable: z.boolean(),
});
export type GuardResult = z.infer<typeof guardResultSchema>;

/** What may be missing after the takeover; null = not known. */
export const predictedLossSchema = z.strictObject({
  mailboxes: count.nullable(),
  /** Messages known to have been accepted that are not here. */
  messages: count.nullable(),
  /** At most so long the primary can have taken mail that is not here; time in which it was dead does not count. */
  seconds: seconds.nullable(),
  /** Changes of any kind that the primary had recorded and that are not here. */
  changes: count.nullable(),
  /** How `seconds` is known, for people: when it was last heard, and since when it is dead at the latest. */
  bound: text.optional(),
  /** Mail that waited in the queue of the node that goes out of service: it is not replicated, and stays there. Left out where no queue is watched. */
  queue: queueReadingSchema.optional(),
});
export type PredictedLoss = z.infer<typeof predictedLossSchema>;

/** Steps of both kinds. The order is the plan's. */
export const stepIds = [
  'prepare',
  'quiesce',
  'drain',
  'compare',
  'stepdown',
  'fence',
  'confirm-fenced',
  'epoch',
  'apply',
  'raise',
  'addresses',
  'services',
  'check',
] as const;
export type StepId = (typeof stepIds)[number];

export const planStepSchema = z.strictObject({
  id: z.enum(stepIds),
  title: text,
  /** The node that it changes. */
  where: text,
  /** What a failure here does: undo what was done, nothing to undo, or only forward. */
  rollback: z.enum(['undo', 'none', 'forward']),
  /** When this step is done, the takeover can only go forward. */
  pointOfNoReturn: z.boolean().optional(),
});
export type PlanStep = z.infer<typeof planStepSchema>;

/** The state that a plan was made from; a plan does not run when it has moved. */
export const planBasisSchema = z.strictObject({
  role: roleSchema,
  epoch,
  /** Highest epoch that this node has heard of. */
  seenEpoch: count,
  peerRole: roleSchema.nullable(),
  peerEpoch: count.nullable(),
  peerConnected: z.boolean(),
  /** Last batch applied here, as `epoch:seq:checksum`. */
  position: text,
  /** Service addresses that somebody answers for, sorted; null = not known. */
  addressesAnswered: z.array(text).max(256).nullable(),
  /** SHA-256 of the configuration in force, hexadecimal. */
  configDigest: text,
});
export type PlanBasis = z.infer<typeof planBasisSchema>;

/** The plan file: `failover --dry-run` writes it, `--apply FILE` runs exactly it. */
export const planSchema = z.strictObject({
  /** Version of this form. */
  plan: z.literal(1),
  id: text,
  kind: z.enum(takeoverKinds),
  /** The node that becomes active. */
  node: text,
  /** The node that is active until then, or was. */
  target: text,
  /** The epoch under which `node` becomes active. */
  epoch,
  createdAt: time,
  expiresAt: time,
  guards: z.array(guardResultSchema).max(guardNames.length),
  overrides: z.array(guardNameSchema).max(guardNames.length),
  predictedLoss: predictedLossSchema,
  steps: z.array(planStepSchema).max(stepIds.length),
  basis: planBasisSchema,
  /** SHA-256, hexadecimal, of everything above as canonical JSON. */
  digest: z.string().regex(/^[0-9a-f]{64}$/),
});
export type Plan = z.infer<typeof planSchema>;

/** Who gives the command, as the command line says it; the agent takes only `sudoUser` from it, and asks the kernel for the rest. */
export const operatorSchema = z.strictObject({
  uid: count,
  user: text,
  /** The terminal; null when there is none. */
  tty: text.nullable(),
  /** SUDO_USER; null when it is not set. */
  sudoUser: text.nullable(),
});
/** Who gave a command, for the audit log and not for permission. */
export type Operator = z.infer<typeof operatorSchema> & {
  /** The process that asked, as the kernel noted it. */
  pid?: number;
  /** Who logged in to its session, whatever it became by su or sudo; null when the system notes no logins. */
  login?: { uid: number; user: string } | null;
};

/** A person's word that the old primary is off, for the last fencing level. */
export const manualFenceSchema = z.strictObject({
  /** The dead node's name, typed. */
  node: text,
  by: text,
  /** What they saw, for example "power cable pulled, rack 3". */
  evidence: text,
});

export const planRequestSchema = z.strictObject({
  kind: z.enum(takeoverKinds),
  overrides: z.array(guardNameSchema).max(guardNames.length),
  by: operatorSchema,
});
export type PlanRequest = z.infer<typeof planRequestSchema>;

export const runRequestSchema = z.strictObject({
  kind: z.enum(takeoverKinds),
  /** The plan to run; null = make one now and run it. */
  plan: planSchema.nullable(),
  /** The other node's name, typed or `--confirm`. */
  confirm: text,
  /** The predicted loss was repeated by the person, or `--accept-loss`. */
  acceptLoss: z.boolean(),
  overrides: z.array(guardNameSchema).max(guardNames.length),
  manual: manualFenceSchema.nullable(),
  by: operatorSchema,
});
export type RunRequest = z.infer<typeof runRequestSchema>;

/** Lines of the stream that answers POST /takeover/run, beside those of every stream. */
export type TakeoverProgress =
  | { kind: 'guard'; result: GuardResult; overridden: boolean }
  | { kind: 'step'; id: StepId; title: string; state: 'begun' | 'done' | 'skipped' | 'failed' | 'undone'; text: string; ms: number }
  | { kind: 'note'; text: string };

export type TakeoverLine = StreamLine;

export const outcomes = ['done', 'refused', 'rolled-back', 'incomplete', 'failed'] as const;
export type TakeoverOutcome = (typeof outcomes)[number];

/** What became of a takeover: the facts of the stream's last line, and GET /takeover/last. */
export interface TakeoverReport {
  id: string;
  kind: TakeoverKind;
  node: string;
  target: string;
  epoch: number;
  outcome: TakeoverOutcome;
  exitCode: number;
  startedAt: string;
  endedAt: string;
  /** Stable code of what went wrong; null when done. */
  code: string | null;
  /** One sentence that says how it stands now. */
  summary: string;
  /** What a person has to do next; empty when nothing. */
  remedy: string;
  /** Set when this run continued or rolled back an earlier one. */
  resumed: 'continued' | 'rolled-back' | null;
  /** `skipped`: there was nothing to do, as `evidence` says. */
  steps: { id: StepId; state: StepState | 'skipped'; startedAt: string | null; ms: number | null; evidence: string }[];
  overrides: GuardName[];
  predictedLoss: PredictedLoss;
}

export const stepStates = ['pending', 'begun', 'done', 'failed', 'undoing', 'undone', 'undo-failed'] as const;
export type StepState = (typeof stepStates)[number];

export interface TakeoverLast {
  report: TakeoverReport | null;
  running: boolean;
  /** What was interrupted and is continued or rolled back when the command runs again. */
  unfinished: { id: string; kind: TakeoverKind } | null;
}

/** Requests of the control socket that belong to the takeover; control.ts has the others. */
export interface TakeoverApi {
  'POST /takeover/plan': { body: PlanRequest; answer: Plan };
  'POST /takeover/run': { body: RunRequest; answer: TakeoverLine };
  /** The takeover that ran last on this node, or runs now; null when there was none. */
  'GET /takeover/last': { body: null; answer: TakeoverLast };
}

/**
 * What the coordinator (a standby) asks of the other node over the link, by request and answer with a number. The
 * core's messages.ts carries them as `takeoverAsk {id, ask}` and `takeoverAnswer {id, answer}`.
 */
export const takeoverAskSchema = z.discriminatedUnion('ask', [
  /** The facts that only the peer knows. Changes nothing. */
  z.strictObject({ ask: z.literal('prepare'), takeover: text }),
  /** Stop services and keep them stopped for `maxSeconds` after the last such request; repeated while draining. */
  z.strictObject({ ask: z.literal('quiesce'), takeover: text, epoch, maxSeconds: seconds }),
  /** How far is the drain? Renews the quiesce. */
  z.strictObject({ ask: z.literal('drain'), takeover: text }),
  /** Remove addresses, become standby at `epoch`, durable; answered when that is so. The commit point of a switchover. */
  z.strictObject({ ask: z.literal('stepdown'), takeover: text, epoch }),
  /** Back into service; answered when the services run again, or do not. */
  z.strictObject({ ask: z.literal('abort'), takeover: text }),
  /** Cooperative fencing: stop everything and become fenced at `epoch`. */
  z.strictObject({ ask: z.literal('yield'), takeover: text, epoch }),
  /** What the peer is now; for a takeover that was interrupted. */
  z.strictObject({ ask: z.literal('state'), takeover: text }),
]);
export type TakeoverAsk = z.infer<typeof takeoverAskSchema>;

/** What a node says of itself; only what is durable (role, epoch) and what is so (active). */
export const peerWordSchema = z.strictObject({
  node: text,
  role: roleSchema,
  epoch,
  /** It holds service addresses, runs mail services, or is about to: false only when all of it is known to be down. */
  active: z.boolean(),
  /** The state of its role machine, for people. */
  state: text,
});
export type PeerWord = z.infer<typeof peerWordSchema>;

const serviceStates = ['running', 'stopped', 'partial', 'unknown'] as const;

export const takeoverAnswerSchema = z.discriminatedUnion('answer', [
  /** To everything that is refused or fails there. */
  z.strictObject({ answer: z.literal('refused'), code: text, text, remedy: text, word: peerWordSchema }),
  z.strictObject({
    answer: z.literal('prepared'),
    word: peerWordSchema,
    agentVersion: text,
    serverVersion: text.nullable(),
    services: z.enum(serviceStates),
    /** Service addresses that it holds. */
    addresses: z.array(text).max(256),
    unproven: count,
    /** Gateways and witnesses that answer it; null where it has none configured. */
    reached: z.array(text).max(256).nullable(),
    wallMs: count,
    takeover: text.nullable(),
  }),
  z.strictObject({ answer: z.literal('quiesced'), word: peerWordSchema }),
  /** `position` of the last batch made; `open` changes that are not durable on the standby yet; `settled`: everything was looked at. */
  z.strictObject({ answer: z.literal('draining'), word: peerWordSchema, position: text, open: count, settled: z.boolean() }),
  z.strictObject({ answer: z.literal('stepped-down'), word: peerWordSchema }),
  z.strictObject({ answer: z.literal('aborted'), word: peerWordSchema }),
  z.strictObject({ answer: z.literal('state'), word: peerWordSchema }),
]);
export type TakeoverAnswer = z.infer<typeof takeoverAnswerSchema>;
