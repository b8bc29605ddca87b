import { exitCodes } from '../../protocol/control.ts';
import type { Plan, TakeoverKind, TakeoverReport } from '../../protocol/takeover.ts';
import { sleep } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { decideResume, type ResumeDecision } from './resume.ts';
import { StepRun } from './step-run.ts';
import type { RunnerParts, TakeoverOrder } from './takeover-actions.ts';
import { newJournal, readJournal, stateOf, writeJournal, type TakeoverJournal } from './takeover-journal.ts';
import { doneEnd, doubtEnd, givenUpEnd, makeReport, notUndoneEnd, stuckEnd, voidEnd, type End } from './takeover-report.ts';

export type { RunnerParts, StepContext, TakeoverActions, TakeoverOrder } from './takeover-actions.ts';

/**
 * Carries a plan out, step by step, each durable in the journal before and after it ran (I14).
 *
 * - `runner.settle(kind, order)`: first of all, when the command runs: continues or rolls back what was interrupted.
 *   Null when nothing was, or when the way is free now for the command itself; otherwise the report to end with.
 * - `runner.run(plan, order)`: a new takeover. Guards, confirmations and `checkBasis` come before.
 * - `runner.running`: the takeover that runs on this node; never two.
 * - `runner.stop(because)`: the role machine's `stopTakeover`: nothing more is begun.
 *
 * Before the commit point a failure, a hook or the order's `signal` rolls back; after it only forward: three tries a step,
 * then the report says what a person has to do. step-run.ts has the single step, resume.ts what an interruption comes to.
 */

type Resumed = TakeoverReport['resumed'];

const doubtMs = 2000;
/** A step has limits of its own, and heeds its signal. */
const stopMs = 60_000;

export class TakeoverRunner {
  readonly #p: RunnerParts;
  #running: string | null = null;
  #stopping = new AbortController();
  #ended: Promise<unknown> = Promise.resolve();

  constructor(parts: RunnerParts) {
    this.#p = parts;
  }

  get running(): string | null {
    return this.#running;
  }

  /** Resolves when the step that was under way has ended, or after `stopMs`: then what it brings up late is brought down late. */
  async stop(because: string): Promise<void> {
    this.#stopping.abort(new OperatorError('overtaken', because, 'see `mailtwin status` on both nodes', exitCodes.incomplete));
    const patience = new AbortController();
    await Promise.race([this.#ended.finally(() => patience.abort()), sleep(this.#p.clock, stopMs, patience.signal)]);
  }

  /** @throws OperatorError `other-takeover`, `unfinished-takeover`. */
  async run(plan: Plan, order: TakeoverOrder): Promise<TakeoverReport> {
    const open = openJournal(this.#p);
    if (open !== null)
      throw new OperatorError(
        'unfinished-takeover',
        `takeover ${open.plan.id} was interrupted`,
        `run \`mailtwin ${open.plan.kind}\` again`,
        exitCodes.refused,
      );
    const journal = newJournal(plan, order.by, this.#p.clock.wallMs());
    return this.#alone(journal, order, async (run) => {
      const { id, kind, epoch, overrides, digest, predictedLoss, guards } = plan;
      await this.#p.audit('takeover-begun', { id, kind, epoch, overrides, digest, predictedLoss, guards }, order.by);
      await writeJournal(this.#p.kv, journal);
      return this.#forward(run, 0, null);
    });
  }

  /** @throws OperatorError `other-takeover`. */
  async settle(kind: TakeoverKind, order: TakeoverOrder): Promise<TakeoverReport | null> {
    const open = openJournal(this.#p);
    if (open === null) return null;
    return this.#alone(open, order, async (run) => {
      const decision = await this.#decide(run);
      const because = decision.is === 'none' ? '' : decision.because;
      const note = (text: string) => order.say({ kind: 'note', text: `${text} the ${open.plan.kind} that was interrupted: ${because}` });
      await this.#p.audit('takeover-resumed', { id: open.plan.id, decision: decision.is, because }, order.by);
      switch (decision.is) {
        case 'none':
          return null;
        case 'continue':
          note('continues');
          return this.#continue(run, decision);
        case 'roll-back': {
          note('rolls back');
          const report = await this.#rollBack(run, new OperatorError('interrupted', 'it was interrupted', ''), 'rolled-back');
          // What was begun is undone: the way is free for the command.
          return open.phase === 'closed' && report.outcome !== 'done' ? null : report;
        }
        case 'void':
          note('puts away');
          await this.#end(run, voidEnd(because), null);
          return null;
        case 'in-doubt': {
          const isOver = kind === 'failover';
          const report = await this.#end(run, doubtEnd(decision, isOver), null);
          if (!isOver) return report;
          note('puts away');
          return null;
        }
      }
    });
  }

  async #alone<T>(journal: TakeoverJournal, order: TakeoverOrder, work: (run: StepRun) => Promise<T>): Promise<T> {
    if (this.#running !== null)
      throw new OperatorError(
        'other-takeover',
        `takeover ${this.#running} runs on this node`,
        'wait for its end: `mailtwin status`',
        exitCodes.refused,
      );
    this.#running = journal.plan.id;
    this.#stopping = new AbortController();
    const working = work(new StepRun(this.#p, journal, order, this.#stopping.signal)).finally(() => (this.#running = null));
    this.#ended = working.catch(() => {});
    return working;
  }

  async #decide(run: StepRun): Promise<ResumeDecision> {
    const own = this.#p.actions.own();
    // Only a switchover before its own commit has to ask.
    const asks = run.journal.plan.kind === 'switchover' && own.role === 'standby';
    const peer = asks ? await this.#p.actions.peerWord(run.context(false)).catch(() => null) : null;
    return decideResume(run.journal, { own, peer });
  }

  async #continue(run: StepRun, { from, proof, because }: Extract<ResumeDecision, { is: 'continue' }>): Promise<TakeoverReport> {
    const at = run.journal.steps.findIndex(({ id }) => id === from);
    await run.takeUp(at, proof, because);
    return this.#forward(run, at, 'continued');
  }

  async #forward(run: StepRun, from: number, resumed: Resumed): Promise<TakeoverReport> {
    const { plan, steps } = run.journal;
    const commit = plan.steps.findIndex(({ pointOfNoReturn }) => pointOfNoReturn === true);
    for (const [i, step] of steps.entries()) {
      if (i < from) continue;
      const error = i > commit ? await run.insist(step) : await run.attempt(step, true);
      if (error === null) continue;
      if (i > commit) return this.#end(run, stuckEnd(run.journal, step, error), resumed);
      if (step.id === 'stepdown' && step.state !== 'pending') return this.#afterDoubt(run, error, resumed);
      const own = this.#p.actions.own();
      const isCommitted = step.id === 'epoch' && own.role === 'primary' && own.epoch === plan.epoch;
      if (!isCommitted) return this.#rollBack(run, error, resumed);
      await run.record(step, 'done', 'the role is durable');
    }
    return this.#end(run, doneEnd(plan, this.#p.afterwards), resumed);
  }

  /** The step-down was asked for and its answer is missing: the other node's word decides. */
  async #afterDoubt(run: StepRun, error: Error, resumed: Resumed): Promise<TakeoverReport> {
    const { clock, quiesceMaxMs } = this.#p;
    const untilMs = clock.monotonicMs() + quiesceMaxMs;
    for (;;) {
      const decision = await this.#decide(run);
      if (decision.is === 'continue') return this.#continue(run, decision);
      if (decision.is === 'roll-back') return this.#rollBack(run, error, resumed);
      if (decision.is === 'void') return this.#end(run, voidEnd(decision.because), resumed);
      if (decision.is === 'in-doubt' && clock.monotonicMs() >= untilMs) return this.#end(run, doubtEnd(decision, false), resumed);
      await sleep(clock, doubtMs);
    }
  }

  /** Undoes what was done, last first. */
  async #rollBack(run: StepRun, cause: Error, resumed: Resumed): Promise<TakeoverReport> {
    const { journal } = run;
    journal.phase = 'rolling-back';
    await writeJournal(this.#p.kv, journal);
    const undoable = new Set(journal.plan.steps.filter(({ rollback }) => rollback === 'undo').map(({ id }) => id));
    const touched = journal.steps.filter(({ id, state }) => undoable.has(id) && state !== 'pending').toReversed();
    for (const step of touched) {
      if (step.state === 'undone') continue;
      const failure = await run.undo(step);
      if (failure === null) continue;
      // Perhaps it has stepped down after all: then there is only forward.
      const decision = stateOf(journal, 'stepdown') === 'pending' ? null : await this.#decide(run);
      if (decision?.is === 'continue') return this.#continue(run, decision);
      return this.#end(run, notUndoneEnd(journal, cause, failure, this.#p.quiesceMaxMs), resumed);
    }
    return this.#end(run, givenUpEnd(journal, cause, touched.length), resumed);
  }

  async #end({ journal, order }: StepRun, end: End, resumed: Resumed): Promise<TakeoverReport> {
    const report = makeReport(journal, end, resumed, this.#p.clock.wallMs());
    journal.report = report;
    if (end.isOver) journal.phase = 'closed';
    const { outcome, code, summary } = end;
    await this.#p.audit('takeover-ended', { id: journal.plan.id, outcome, code, summary }, order.by);
    await writeJournal(this.#p.kv, journal);
    return report;
  }
}

function openJournal({ kv }: RunnerParts): TakeoverJournal | null {
  const journal = readJournal(kv);
  return journal === null || journal.phase === 'closed' ? null : journal;
}
