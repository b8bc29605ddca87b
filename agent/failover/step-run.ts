import { exitCodes } from '../../protocol/control.ts';
import type { StepId, StepState } from '../../protocol/takeover.ts';
import { takeoverDefaults, type HookPhase } from '../config/takeover-sections/takeover.ts';
import { sleep } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Proof } from './role-types.ts';
import type { Did, RunnerParts, StepContext, TakeoverOrder } from './takeover-actions.ts';
import { writeJournal, type StepRecord, type TakeoverJournal } from './takeover-journal.ts';

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

/** The steps of one takeover, one by one: hooks around each, the journal before and after, its proof kept fresh. */
export class StepRun {
  readonly journal: TakeoverJournal;
  readonly order: TakeoverOrder;
  readonly #p: RunnerParts;
  /** Fires when the role machine says that nothing more may be begun. */
  readonly #stopping: AbortSignal;
  /** Monotonic time until which the proof holds. */
  #proofUntilMs = 0;

  constructor(parts: RunnerParts, journal: TakeoverJournal, order: TakeoverOrder, stopping: AbortSignal) {
    this.#p = parts;
    this.journal = journal;
    this.order = order;
    this.#stopping = stopping;
  }

  /** Goes on where an earlier run was. Time has passed: that the old primary is off must be shown again. */
  async takeUp(from: number, proof: Proof | null, because: string): Promise<void> {
    const { journal } = this;
    journal.phase = 'running';
    journal.proof = proof;
    for (const step of journal.steps.slice(0, from)) {
      if (step.state === 'done') continue;
      step.state = 'done';
      step.evidence = because;
    }
    this.#proofUntilMs = proof?.kind === 'stepped-down' ? Infinity : 0;
    await writeJournal(this.#p.kv, journal);
  }

  /** One try of one step; the error, or null when it is done. `mayStop`: before the commit point. A step that was not begun stays pending. */
  async attempt(step: StepRecord, mayStop: boolean): Promise<Error | null> {
    const { clock } = this.#p;
    const startedMs = clock.monotonicMs();
    const ms = () => Math.round(clock.monotonicMs() - startedMs);
    let begun = false;
    try {
      this.#stopping.throwIfAborted();
      if (mayStop && this.order.signal.aborted)
        throw new OperatorError('given-up', 'the takeover was given up', 'run the command again when you want it');
      await this.#hook('before', step.id, mayStop);
      await this.record(step, 'begun', '');
      begun = true;
      this.#tell(step.id, 'begun', '', 0);
      const did = await this.#act(step.id, this.context(mayStop));
      step.ms = ms();
      step.skipped = typeof did === 'object' && 'skipped' in did;
      await this.record(step, 'done', evidenceOf(did));
      await this.#audit(step.skipped ? 'step-skipped' : 'step-done', step.id, { evidence: step.evidence });
      this.#tell(
        step.id,
        step.skipped ? 'skipped' : 'done',
        step.evidence,
        ms(),
        typeof did === 'object' && 'title' in did ? did.title : null,
      );
      await this.#hook('after', step.id, false);
      return null;
    } catch (thrown) {
      const error = asError(thrown);
      step.ms = ms();
      await this.record(step, begun ? 'failed' : step.state, error.message);
      await this.#audit('step-failed', step.id, { error: error.message });
      this.#tell(step.id, 'failed', error.message, ms());
      return error;
    }
  }

  /** Past the commit point there is only forward: tried again, within bounds. */
  async insist(step: StepRecord): Promise<Error | null> {
    let error: Error | null = null;
    for (let tries = 0; tries < triesMax; tries++) {
      if (tries > 0) await sleep(this.#p.clock, retryMs, this.#stopping);
      if (this.#isOvertaken())
        return new OperatorError(
          'overtaken',
          'another takeover has a higher epoch',
          'see `mailtwin status` on both nodes',
          exitCodes.incomplete,
        );
      error = await this.attempt(step, false);
      if (error === null) return null;
    }
    return error;
  }

  /** Undoes a step; the error of the last try, or null. */
  async undo(step: StepRecord): Promise<Error | null> {
    let error = new Error('was not tried');
    for (let tries = 0; tries < triesMax; tries++) {
      if (tries > 0) await sleep(this.#p.clock, retryMs);
      try {
        await this.record(step, 'undoing', step.evidence);
        const text = await this.#p.actions.abort(this.context(false));
        await this.record(step, 'undone', text);
        this.#tell(step.id, 'undone', text, 0);
        return null;
      } catch (thrown) {
        error = asError(thrown);
      }
    }
    await this.record(step, 'undo-failed', error.message);
    return error;
  }

  async record(step: StepRecord, state: StepState, evidence: string): Promise<void> {
    step.state = state;
    step.evidence = evidence.slice(0, 4000);
    if (state === 'begun') step.startedMs ??= this.#p.clock.wallMs();
    await writeJournal(this.#p.kv, this.journal);
  }

  context(mayStop: boolean): StepContext {
    const { order, journal } = this;
    const signal = mayStop ? AbortSignal.any([order.signal, this.#stopping]) : this.#stopping;
    return { plan: journal.plan, order, signal, say: (text) => order.say({ kind: 'note', text }) };
  }

  #isOvertaken(): boolean {
    const own = this.#p.actions.own();
    return this.#stopping.aborted || own.epoch > this.journal.plan.epoch || own.role === 'fenced';
  }

  async #act(id: StepId, context: StepContext): Promise<Did> {
    const { actions } = this.#p;
    switch (id) {
      case 'stepdown':
        return this.#prove(await actions.stepDown(context), Infinity);
      case 'fence': {
        const { proof, lifeMs, title } = await actions.fence(context);
        const evidence = this.#prove(proof, lifeMs);
        return title === undefined ? evidence : { title, evidence };
      }
      case 'confirm-fenced':
        return actions.confirmFenced(context);
      case 'epoch':
        return actions.epoch(context, await this.#freshProof(context));
      case 'raise':
        await this.#freshProof(context);
        return actions.raise(context);
      case 'addresses':
        await this.#freshProof(context);
        return actions.addresses(context);
      default:
        return actions[id](context);
    }
  }

  #prove(proof: Proof, lifeMs: number): string {
    const { epoch } = this.journal.plan;
    if (proof.epoch !== epoch) throw new Error(`a proof for epoch ${proof.epoch} came for ${epoch}`);
    this.journal.proof = proof;
    // Somebody may switch it on the moment after; before it would serve alone, the proof must be over.
    const startAloneMs = this.#p.startAloneMs ?? takeoverDefaults.startAloneSeconds * 1000;
    this.#proofUntilMs = this.#p.clock.monotonicMs() + (proof.kind === 'receipt' ? Math.min(lifeMs, startAloneMs / 2) : lifeMs);
    return proof.evidence;
  }

  /** A receipt that has expired proves nothing: somebody may have switched the old primary on again (I3). */
  async #freshProof(context: StepContext): Promise<Proof> {
    const { journal } = this;
    if (journal.proof === null || this.#p.clock.monotonicMs() >= this.#proofUntilMs) {
      if (journal.plan.kind !== 'failover') throw new Error('a switchover goes on without the word of the other node');
      context.say('the proof that the old primary is off has expired: it is made anew');
      const { proof, lifeMs } = await this.#p.actions.fence(context);
      this.#prove(proof, lifeMs);
      await this.#p.actions.confirmFenced(context);
      await writeJournal(this.#p.kv, journal);
      // It may have served alone in between and given out UIDs (I5).
      const raise = journal.steps.find(({ id }) => id === 'raise');
      if (raise?.state === 'done') await this.record(raise, 'done', evidenceOf(await this.#p.actions.raise(context)));
    }
    if (journal.proof === null) throw new Error('there is no proof');
    return journal.proof;
  }

  async #hook(when: 'before' | 'after', id: StepId, mayStop: boolean): Promise<void> {
    const phase = hooked[id];
    if (phase === undefined) return;
    try {
      await this.#p.hook(`${when}-${phase}`, this.journal.plan);
    } catch (error) {
      if (mayStop) throw error;
      this.order.say({ kind: 'note', text: `${asError(error).message}; the takeover goes on` });
    }
  }

  /** `happened`: a title that says what came of it. */
  #tell(
    id: StepId,
    state: 'begun' | 'done' | 'skipped' | 'failed' | 'undone',
    text: string,
    ms: number,
    happened: string | null = null,
  ): void {
    const title = happened ?? this.journal.plan.steps.find((step) => step.id === id)?.title ?? id;
    this.order.say({ kind: 'step', id, title: state === 'undone' ? `undo: ${title}` : title, state, text, ms });
  }

  async #audit(what: string, step: StepId, facts: Record<string, unknown>): Promise<void> {
    await this.#p.audit(what, { id: this.journal.plan.id, step, ...facts }, this.order.by);
  }
}

function evidenceOf(did: Did): string {
  if (typeof did === 'string') return did;
  return 'skipped' in did ? did.skipped : did.evidence;
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
