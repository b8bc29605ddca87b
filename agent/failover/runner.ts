import { exitCodes } from '../../protocol/control.ts';
import type {
  Operator,
  PeerWord,
  Plan,
  StepId,
  StepState,
  TakeoverKind,
  TakeoverLine,
  TakeoverOutcome,
  TakeoverReport,
} from '../../protocol/takeover.ts';
import type { HookPhase, HookPoint } from '../config/takeover-sections/takeover.ts';
import { sleep, type Clock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Kv } from '../platform/kv.ts';
import type { DurableRole } from './role-store.ts';
import type { Proof } from './role-types.ts';
import { decideResume, type ResumeDecision } from './resume.ts';
import { newJournal, readJournal, stateOf, writeJournal, type StepRecord, type TakeoverJournal } from './takeover-journal.ts';

/**
 * Carries a plan out, step by step, each durable in the journal before and after it ran (I14).
 *
 * - `runner.settle(kind, order)`: first of all, when the command runs: continues or rolls back what was interrupted.
 *   Null when nothing was, or when the way is free now for the command itself; otherwise the report to end with.
 * - `runner.run(plan, order)`: a new takeover. Guards, confirmations and `checkBasis` come before.
 * - `runner.running`: the takeover that runs on this node; never two.
 * - `runner.stop(because)`: the role machine's `stopTakeover`: nothing more is begun.
 *
 * Before the commit point a failure, a hook or `signal` rolls back; after it only forward: three tries a step, then the
 * report says what a person has to do.
 */

export interface StepContext {
  plan: Plan;
  order: TakeoverOrder;
  /** A line for the person who watches. */
  say(text: string): void;
  signal: AbortSignal;
}

export interface TakeoverOrder {
  by: Operator;
  /** A person's word for the last fencing level. */
  manual: { node: string; by: string; evidence: string } | null;
  say(line: TakeoverLine): void;
  /** Fires when the person gives up; heeded before the commit point alone. */
  signal: AbortSignal;
}

/** One method a step. Each gives its evidence in words, and may be called again after it succeeded, failed or was interrupted. */
export interface TakeoverActions {
  /** Facts of the peer against the plan. Changes nothing. */
  prepare(context: StepContext): Promise<string>;
  quiesce(context: StepContext): Promise<string>;
  /** Until nothing is open; keeps the quiesce alive meanwhile. */
  drain(context: StepContext): Promise<string>;
  compare(context: StepContext): Promise<string>;
  /** Resolves only with the peer's own word that it is standby of `plan.epoch` and down. */
  stepDown(context: StepContext): Promise<Proof>;
  /** Resolves only with a receipt for `plan.epoch`; `lifeMs` is how long it holds from now on. */
  fence(context: StepContext): Promise<{ proof: Proof; lifeMs: number }>;
  /** Fails while the peer is heard or somebody answers for a service address. */
  confirmFenced(context: StepContext): Promise<string>;
  /** `takeOver` to the role machine; resolves when the role is durable. */
  epoch(context: StepContext, proof: Proof): Promise<string>;
  apply(context: StepContext): Promise<string>;
  raise(context: StepContext): Promise<string>;
  addresses(context: StepContext): Promise<string>;
  /** Starts the services, then tells `activationDone` to the role machine. */
  services(context: StepContext): Promise<string>;
  check(context: StepContext): Promise<string>;
  /** Undoes `quiesce`: resolves when the peer serves again. */
  abort(context: StepContext): Promise<string>;
  /** What the peer says of itself now; null = no answer. */
  peerWord(context: StepContext): Promise<PeerWord | null>;
  /** Durable role of this node. */
  own(): DurableRole;
}

export interface RunnerParts {
  kv: Kv;
  clock: Clock;
  actions: TakeoverActions;
  /** @throws OperatorError when the hook fails. */
  hook(point: HookPoint, plan: Plan): Promise<void>;
  /** Durable in the audit log before it resolves. */
  audit(what: string, facts: Record<string, unknown>, by: Operator): Promise<void>;
  quiesceMaxMs: number;
}

const hooked: Partial<Record<StepId, HookPhase>> = {
  quiesce: 'quiesce',
  stepdown: 'stepdown',
  fence: 'fence',
  epoch: 'epoch',
  apply: 'apply',
  raise: 'raise',
  addresses: 'addresses',
  services: 'services',
  check: 'check',
};

const triesMax = 3;
const retryMs = 2000;

export class TakeoverRunner {
  readonly #p: RunnerParts;
  #running: string | null = null;
  #stopping = new AbortController();
  /** Monotonic time until which the proof of this run holds. */
  #proofUntilMs = 0;

  constructor(parts: RunnerParts) {
    this.#p = parts;
  }

  get running(): string | null {
    return this.#running;
  }

  stop(because: string): void {
    this.#stopping.abort(new OperatorError('overtaken', because, 'see `mailtwin status` on both nodes', exitCodes.incomplete));
  }

  /** @throws OperatorError `other-takeover`, `unfinished-takeover`. */
  async run(plan: Plan, order: TakeoverOrder): Promise<TakeoverReport> {
    const open = readJournal(this.#p.kv);
    if (open !== null && open.phase !== 'closed')
      throw new OperatorError(
        'unfinished-takeover',
        `takeover ${open.plan.id} was interrupted`,
        `run \`mailtwin ${open.plan.kind}\` again`,
        exitCodes.refused,
      );
    return this.#alone(plan.id, async () => {
      const journal = newJournal(plan, order.by, this.#p.clock.wallMs());
      const { epoch, overrides, digest, predictedLoss, guards } = plan;
      await this.#p.audit('takeover-begun', { id: plan.id, kind: plan.kind, epoch, overrides, digest, predictedLoss, guards }, order.by);
      await writeJournal(this.#p.kv, journal);
      return this.#forward(journal, 0, order, null);
    });
  }

  /** @throws OperatorError `other-takeover`. */
  async settle(kind: TakeoverKind, order: TakeoverOrder): Promise<TakeoverReport | null> {
    const open = readJournal(this.#p.kv);
    if (open === null || open.phase === 'closed') return null;
    return this.#alone(open.plan.id, async () => {
      const decision = await this.#decide(open, order);
      await this.#p.audit(
        'takeover-resumed',
        { id: open.plan.id, decision: decision.is, because: 'because' in decision ? decision.because : '' },
        order.by,
      );
      switch (decision.is) {
        case 'none':
          return null;
        case 'continue':
          order.say({ kind: 'note', text: `continues the ${open.plan.kind} that was interrupted: ${decision.because}` });
          return this.#continue(open, decision, order);
        case 'roll-back': {
          order.say({ kind: 'note', text: `rolls back the ${open.plan.kind} that was interrupted: ${decision.because}` });
          const report = await this.#rollBack(open, order, new OperatorError('interrupted', 'it was interrupted', ''), 'rolled-back');
          // What was begun is undone: the way is free for the command.
          return open.phase === 'closed' && report.outcome !== 'done' ? null : report;
        }
        case 'void':
          order.say({ kind: 'note', text: `the ${open.plan.kind} that was interrupted is over: ${decision.because}` });
          await this.#close(open, order, 'failed', 'void', decision.because, '', null);
          return null;
        case 'in-doubt': {
          // The other node may be the standby already. A failover proves it off, whatever it is.
          const report = await this.#report(
            open,
            order,
            'incomplete',
            'in-doubt',
            decision.because,
            decision.remedy,
            null,
            kind === 'failover',
          );
          if (kind !== 'failover') return report;
          order.say({ kind: 'note', text: `gives up the switchover that was interrupted: ${decision.because}` });
          return null;
        }
      }
    });
  }

  async #alone<T>(id: string, work: () => Promise<T>): Promise<T> {
    if (this.#running !== null)
      throw new OperatorError(
        'other-takeover',
        `takeover ${this.#running} runs on this node`,
        'wait for its end: `mailtwin status`',
        exitCodes.refused,
      );
    this.#running = id;
    this.#stopping = new AbortController();
    try {
      return await work();
    } finally {
      this.#running = null;
    }
  }

  async #decide(journal: TakeoverJournal, order: TakeoverOrder): Promise<ResumeDecision> {
    const own = this.#p.actions.own();
    // Only a switchover before its own commit has to ask.
    const asks = journal.plan.kind === 'switchover' && own.role === 'standby' && journal.phase !== 'closed';
    const peer = asks ? await this.#p.actions.peerWord(this.#context(journal, order)).catch(() => null) : null;
    return decideResume(journal, { own, peer });
  }

  async #continue(
    journal: TakeoverJournal,
    decision: Extract<ResumeDecision, { is: 'continue' }>,
    order: TakeoverOrder,
  ): Promise<TakeoverReport> {
    const from = journal.steps.findIndex(({ id }) => id === decision.from);
    journal.phase = 'running';
    journal.proof = decision.proof;
    for (const step of journal.steps.slice(0, from)) if (step.state !== 'done') this.#mark(step, 'done', decision.because);
    await writeJournal(this.#p.kv, journal);
    // Time has passed: that the old primary is off must be shown again.
    this.#proofUntilMs = journal.proof?.kind === 'stepped-down' ? Infinity : 0;
    return this.#forward(journal, from, order, 'continued');
  }

  async #forward(
    journal: TakeoverJournal,
    from: number,
    order: TakeoverOrder,
    resumed: TakeoverReport['resumed'],
  ): Promise<TakeoverReport> {
    const { steps } = journal.plan;
    const commit = steps.findIndex(({ pointOfNoReturn }) => pointOfNoReturn === true);
    for (let i = from; i < journal.steps.length; i++) {
      const step = journal.steps[i];
      if (!step) throw new Error('a step is missing');
      const error = i > commit ? await this.#insist(journal, step, order) : await this.#attempt(journal, step, order, true);
      if (error === null) continue;
      if (i > commit) return this.#incomplete(journal, step, order, error, resumed);
      if (step.id === 'stepdown') return this.#afterDoubt(journal, order, error, resumed);
      const own = this.#p.actions.own();
      const committed = step.id === 'epoch' && own.role === 'primary' && own.epoch === journal.plan.epoch;
      if (!committed) return this.#rollBack(journal, order, error, resumed);
      await this.#record(journal, step, 'done', 'the role is durable');
    }
    const { plan } = journal;
    return this.#close(journal, order, 'done', null, `${plan.node} is active in epoch ${plan.epoch}`, next(plan), resumed);
  }

  /** Forward only: tried again and again, within bounds. */
  async #insist(journal: TakeoverJournal, step: StepRecord, order: TakeoverOrder): Promise<Error | null> {
    let error: Error | null = null;
    for (let tries = 0; tries < triesMax; tries++) {
      if (tries > 0) await sleep(this.#p.clock, retryMs, this.#stopping.signal);
      if (this.#overtaken(journal) || this.#stopping.signal.aborted)
        return new OperatorError(
          'overtaken',
          'another takeover has a higher epoch',
          'see `mailtwin status` on both nodes',
          exitCodes.incomplete,
        );
      error = await this.#attempt(journal, step, order, false);
      if (error === null) return null;
    }
    return error;
  }

  #overtaken({ plan }: TakeoverJournal): boolean {
    const own = this.#p.actions.own();
    return own.epoch > plan.epoch || own.role === 'fenced';
  }

  /** One try of one step; the error, or null when it is done. */
  async #attempt(journal: TakeoverJournal, step: StepRecord, order: TakeoverOrder, mayStop: boolean): Promise<Error | null> {
    const { clock } = this.#p;
    const title = journal.plan.steps.find(({ id }) => id === step.id)?.title ?? step.id;
    const startedMs = clock.monotonicMs();
    const tell = (state: 'begun' | 'done' | 'failed', text: string) =>
      order.say({ kind: 'step', id: step.id, title, state, text, ms: Math.round(clock.monotonicMs() - startedMs) });
    try {
      this.#stopping.signal.throwIfAborted();
      if (mayStop && order.signal.aborted)
        throw new OperatorError('given-up', 'the takeover was given up', 'run the command again when you want it');
      await this.#record(journal, step, 'begun', '');
      tell('begun', '');
      await this.#hook('before', step.id, journal.plan, order, mayStop);
      const evidence = await this.#act(step.id, journal, this.#context(journal, order, mayStop));
      await this.#record(journal, step, 'done', evidence);
      await this.#p.audit('step-done', { id: journal.plan.id, step: step.id, evidence }, order.by);
      tell('done', evidence);
      await this.#hook('after', step.id, journal.plan, order, false);
      return null;
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error(String(thrown));
      await this.#record(journal, step, 'failed', error.message);
      await this.#p.audit('step-failed', { id: journal.plan.id, step: step.id, error: error.message }, order.by);
      tell('failed', error.message);
      return error;
    }
  }

  async #hook(when: 'before' | 'after', id: StepId, plan: Plan, order: TakeoverOrder, mayStop: boolean): Promise<void> {
    const phase = hooked[id];
    if (phase === undefined) return;
    try {
      await this.#p.hook(`${when}-${phase}`, plan);
    } catch (error) {
      if (mayStop) throw error;
      order.say({ kind: 'note', text: `${error instanceof Error ? error.message : String(error)}; the takeover goes on` });
    }
  }

  async #act(id: StepId, journal: TakeoverJournal, context: StepContext): Promise<string> {
    const { actions } = this.#p;
    switch (id) {
      case 'stepdown':
        return this.#prove(journal, await actions.stepDown(context), Infinity);
      case 'fence': {
        const { proof, lifeMs } = await actions.fence(context);
        return this.#prove(journal, proof, lifeMs);
      }
      case 'confirm-fenced':
        return actions.confirmFenced(context);
      case 'epoch':
        return actions.epoch(context, await this.#freshProof(journal, context));
      case 'addresses':
        await this.#freshProof(journal, context);
        return actions.addresses(context);
      default:
        return actions[id](context);
    }
  }

  #prove(journal: TakeoverJournal, proof: Proof, lifeMs: number): string {
    if (proof.epoch !== journal.plan.epoch) throw new Error(`a proof for epoch ${proof.epoch} came for ${journal.plan.epoch}`);
    journal.proof = proof;
    this.#proofUntilMs = this.#p.clock.monotonicMs() + lifeMs;
    return proof.evidence;
  }

  /** A receipt that has expired proves nothing: somebody may have switched the old primary on again (I3). */
  async #freshProof(journal: TakeoverJournal, context: StepContext): Promise<Proof> {
    if (journal.proof === null || this.#p.clock.monotonicMs() >= this.#proofUntilMs) {
      if (journal.plan.kind !== 'failover') throw new Error('a switchover goes on without the word of the other node');
      context.say('the proof that the old primary is off has expired: it is made anew');
      const { proof, lifeMs } = await this.#p.actions.fence(context);
      this.#prove(journal, proof, lifeMs);
      await this.#p.actions.confirmFenced(context);
      await writeJournal(this.#p.kv, journal);
    }
    if (journal.proof === null) throw new Error('there is no proof');
    return journal.proof;
  }

  /** The step-down was asked for and its answer is missing: the other node's word decides. */
  async #afterDoubt(
    journal: TakeoverJournal,
    order: TakeoverOrder,
    error: Error,
    resumed: TakeoverReport['resumed'],
  ): Promise<TakeoverReport> {
    const { clock, quiesceMaxMs } = this.#p;
    const untilMs = clock.monotonicMs() + quiesceMaxMs;
    for (;;) {
      const decision = await this.#decide(journal, order);
      if (decision.is === 'continue') return this.#continue(journal, decision, order);
      if (decision.is === 'roll-back') return this.#rollBack(journal, order, error, resumed);
      if (decision.is === 'void')
        return this.#close(journal, order, 'failed', 'void', decision.because, 'see `mailtwin status` on both nodes', resumed);
      if (decision.is === 'in-doubt' && clock.monotonicMs() >= untilMs)
        return this.#report(journal, order, 'incomplete', 'in-doubt', decision.because, decision.remedy, resumed, false);
      await sleep(clock, retryMs);
    }
  }

  /** Undoes what was done, last first. */
  async #rollBack(
    journal: TakeoverJournal,
    order: TakeoverOrder,
    cause: Error,
    resumed: TakeoverReport['resumed'],
  ): Promise<TakeoverReport> {
    const { plan } = journal;
    const { code, remedy } = cause instanceof OperatorError ? cause : { code: 'step-failed', remedy: 'see the log of the agent' };
    journal.phase = 'rolling-back';
    await writeJournal(this.#p.kv, journal);
    const touched = journal.steps.filter(({ state }) => state !== 'pending').map(({ id }) => id);
    const undo = plan.steps.filter(({ id, rollback }) => rollback === 'undo' && touched.includes(id)).toReversed();
    for (const { id } of undo) {
      const step = journal.steps.find((record) => record.id === id);
      if (!step || step.state === 'undone') continue;
      const failure = await this.#undo(journal, step, order);
      if (failure === null) continue;
      // Perhaps it has stepped down after all: then there is only forward.
      const decision = stateOf(journal, 'stepdown') === 'pending' ? null : await this.#decide(journal, order);
      if (decision?.is === 'continue') return this.#continue(journal, decision, order);
      const wait = `${plan.target} could not be told; if it lives it serves again by itself within ${Math.round(this.#p.quiesceMaxMs / 1000)} s`;
      return this.#report(
        journal,
        order,
        'incomplete',
        'not-undone',
        `${cause.message}. ${wait} (${failure.message})`,
        `look at ${plan.target}; running the command again rolls back again`,
        resumed,
        false,
      );
    }
    if (stateOf(journal, 'fence') === 'done')
      return this.#close(
        journal,
        order,
        'incomplete',
        code,
        `${plan.target} was proven off by fencing, and ${plan.node} has not taken over: ${cause.message}`,
        `${remedy === '' ? '' : `${remedy}; `}then run \`mailtwin failover\` again`,
        resumed,
      );
    const refused = cause instanceof OperatorError && cause.exitCode === exitCodes.refused;
    const outcome: TakeoverOutcome = undo.length > 0 ? 'rolled-back' : refused ? 'refused' : 'failed';
    const how = undo.length > 0 ? `${plan.target} serves again` : 'nothing was changed';
    return this.#close(journal, order, outcome, code, `${cause.message}; ${how}`, remedy, resumed);
  }

  async #undo(journal: TakeoverJournal, step: StepRecord, order: TakeoverOrder): Promise<Error | null> {
    const title = `undo: ${journal.plan.steps.find(({ id }) => id === step.id)?.title ?? step.id}`;
    let error: Error | null = null;
    for (let tries = 0; tries < triesMax; tries++) {
      if (tries > 0) await sleep(this.#p.clock, retryMs);
      try {
        await this.#record(journal, step, 'undoing', step.evidence);
        const text = await this.#p.actions.abort(this.#context(journal, order));
        await this.#record(journal, step, 'undone', text);
        order.say({ kind: 'step', id: step.id, title, state: 'undone', text, ms: 0 });
        return null;
      } catch (thrown) {
        error = thrown instanceof Error ? thrown : new Error(String(thrown));
      }
    }
    await this.#record(journal, step, 'undo-failed', error?.message ?? '');
    return error;
  }

  async #incomplete(
    journal: TakeoverJournal,
    step: StepRecord,
    order: TakeoverOrder,
    error: Error,
    resumed: TakeoverReport['resumed'],
  ): Promise<TakeoverReport> {
    const { plan } = journal;
    const { code, remedy } = error instanceof OperatorError ? error : { code: 'step-failed', remedy: '' };
    const serves = stateOf(journal, 'services') === 'done';
    const how = serves ? `${plan.node} serves, but was not proven to` : `${plan.node} is to be the primary and does not serve yet`;
    const again = `mend what is named and run \`mailtwin ${plan.kind}\` here again: it goes on with "${step.id}"`;
    return this.#report(
      journal,
      order,
      'incomplete',
      code,
      `${how}: ${error.message}`,
      remedy === '' ? again : `${remedy}; ${again}`,
      resumed,
      false,
    );
  }

  #close(
    ...args: [TakeoverJournal, TakeoverOrder, TakeoverOutcome, string | null, string, string, TakeoverReport['resumed']]
  ): Promise<TakeoverReport> {
    return this.#report(...args, true);
  }

  async #report(
    journal: TakeoverJournal,
    order: TakeoverOrder,
    outcome: TakeoverOutcome,
    code: string | null,
    summary: string,
    remedy: string,
    resumed: TakeoverReport['resumed'],
    isOver: boolean,
  ): Promise<TakeoverReport> {
    const { plan, steps, startedMs } = journal;
    const iso = (ms: number) => new Date(ms).toISOString();
    const report: TakeoverReport = {
      id: plan.id,
      kind: plan.kind,
      node: plan.node,
      target: plan.target,
      epoch: plan.epoch,
      outcome,
      exitCode: exitCodeOf[outcome],
      startedAt: iso(startedMs),
      endedAt: iso(this.#p.clock.wallMs()),
      code,
      summary,
      remedy,
      resumed,
      steps: steps.map((step) => ({
        id: step.id,
        state: step.state,
        startedAt: step.startedMs === null ? null : iso(step.startedMs),
        ms: step.startedMs === null || step.endedMs === null ? null : Math.max(0, Math.round(step.endedMs - step.startedMs)),
        evidence: step.evidence,
      })),
      overrides: plan.overrides,
      predictedLoss: plan.predictedLoss,
    };
    journal.report = report;
    if (isOver) journal.phase = 'closed';
    await this.#p.audit('takeover-ended', { id: plan.id, outcome, code, summary }, order.by);
    await writeJournal(this.#p.kv, journal);
    return report;
  }

  async #record(journal: TakeoverJournal, step: StepRecord, state: StepState, evidence: string): Promise<void> {
    this.#mark(step, state, evidence);
    await writeJournal(this.#p.kv, journal);
  }

  #mark(step: StepRecord, state: StepState, evidence: string): void {
    const now = this.#p.clock.wallMs();
    step.state = state;
    step.evidence = evidence.slice(0, 4000);
    if (state === 'begun') step.startedMs ??= now;
    if (state === 'done' || state === 'failed') step.endedMs = now;
  }

  #context({ plan }: TakeoverJournal, order: TakeoverOrder, mayStop = false): StepContext {
    const signal = mayStop ? AbortSignal.any([order.signal, this.#stopping.signal]) : this.#stopping.signal;
    return { plan, order, signal, say: (text) => order.say({ kind: 'note', text }) };
  }
}

const exitCodeOf: Record<TakeoverOutcome, number> = {
  done: exitCodes.done,
  refused: exitCodes.refused,
  'rolled-back': exitCodes.rolledBack,
  incomplete: exitCodes.incomplete,
  failed: exitCodes.failed,
};

function next({ kind, target }: Plan): string {
  return kind === 'switchover' ? '' : `before ${target} serves again, run \`mailtwin rejoin\` there: it salvages what only ${target} has`;
}
