import { randomUUID } from 'node:crypto';
import type {
  GuardResult,
  Plan,
  PlanRequest,
  RunRequest,
  TakeoverKind,
  TakeoverLast,
  TakeoverLine,
  TakeoverReport,
} from '../../../protocol/takeover.ts';
import { exitCodes, type StreamLine } from '../../../protocol/control.ts';
import { judgeStanding } from '../../failover/can-take-over.ts';
import { judgeAll, refusals } from '../../failover/guards.ts';
import { checkBasis, makePlan } from '../../failover/plan.ts';
import { TakeoverRunner, type RunnerParts, type TakeoverOrder } from '../../failover/runner.ts';
import { burnedEpoch, readJournal } from '../../failover/takeover-journal.ts';
import { sleep, systemClock } from '../../platform/clock.ts';
import { OperatorError } from '../../platform/errors.ts';
import { takeoverFacts, type FactParts } from './facts.ts';

export interface TakeoverParts {
  facts: Omit<FactParts, 'running'>;
  runner: RunnerParts;
}

/** Stopping the services takes its time, with SIGKILL at the end. */
const startMs = 180_000;

/** The takeover commands of this node: planning changes nothing, running goes by the plan. */
export class Takeover {
  readonly #p: TakeoverParts;
  readonly #runner: TakeoverRunner;
  #busy: string | null = null;
  #stop: AbortController | null = null;

  constructor(parts: TakeoverParts) {
    this.#p = parts;
    this.#runner = new TakeoverRunner(parts.runner);
  }

  /** A takeover is under way on this node. */
  get runs(): boolean {
    return this.#runner.running !== null;
  }

  last(): TakeoverLast {
    const journal = readJournal(this.#p.runner.kv);
    const open = journal !== null && journal.phase !== 'closed';
    return {
      report: journal?.report ?? null,
      running: this.runs,
      unfinished: open && !this.runs ? { id: journal.plan.id, kind: journal.plan.kind } : null,
    };
  }

  /** Appends to the audit log; durable when it resolves. */
  readonly audit: RunnerParts['audit'] = (what, facts, by) => this.#p.runner.audit(what, facts, by);

  /** Something newer happened: what runs here must not go on. */
  async stop(because: string): Promise<void> {
    this.#stop?.abort();
    // The role machine waits for it: what a step still brings up must be up before everything is brought down.
    await this.#runner.stop(because);
  }

  /** @throws OperatorError `on-primary` or `fenced` (exit code 3) where this node cannot become active. */
  async plan({ kind, overrides }: PlanRequest, signal: AbortSignal): Promise<Plan> {
    const { node, config, pin } = this.#p.facts;
    const target = pin()?.node;
    if (node.role === 'primary')
      throw new OperatorError(
        'on-primary',
        `${config.node} is the primary; the command runs on the node that is to become active`,
        `run it on ${target ?? 'the standby'}`,
        exitCodes.refused,
      );
    if (target === undefined)
      throw new OperatorError('unpaired', 'this node is not paired', 'run `mailtwin pair` on both nodes', exitCodes.refused);
    const id = randomUUID();
    const { facts, basis, loss } = await takeoverFacts({ ...this.#p.facts, running: () => this.#runner.running }, kind, id, signal);
    return makePlan({
      id,
      kind,
      node: config.node,
      target,
      wallMs: systemClock.wallMs(),
      guards: judgeAll(facts),
      overrides,
      predictedLoss: loss,
      basis,
      epochBurned: burnedEpoch(this.#p.runner.kv),
    });
  }

  /** What the guards say now, as far as it costs little; changes nothing. */
  async judge(kind: TakeoverKind, signal: AbortSignal): Promise<GuardResult[]> {
    const { facts } = await takeoverFacts({ ...this.#p.facts, running: () => this.#runner.running }, kind, randomUUID(), signal, true);
    return judgeStanding(facts);
  }

  /** Runs the plan, or makes one and runs it; first of all it brings to its end what was interrupted. */
  async run(request: RunRequest, push: (line: TakeoverLine) => void, gone: AbortSignal): Promise<void> {
    if (this.#busy !== null)
      throw new OperatorError(
        'other-takeover',
        `takeover ${this.#busy} runs on this node`,
        'wait for its end: `mailtwin status`',
        exitCodes.refused,
      );
    this.#busy = 'this';
    const stop = new AbortController();
    this.#stop = stop;
    try {
      push(finish(await this.#run(request, push, gone, stop.signal)));
    } finally {
      this.#busy = null;
      this.#stop = null;
    }
  }

  /**
   * An agent that has just started after a takeover was interrupted still brings everything down: what is taken before
   * that has ended would be taken away again.
   */
  async #startEnded(gone: AbortSignal): Promise<void> {
    const ended = new AbortController();
    const late = sleep(systemClock, startMs, AbortSignal.any([gone, ended.signal])).then(() => true);
    const isLate = await Promise.race([this.#p.facts.node.keeper.idle().then(() => false), late]);
    ended.abort();
    if (isLate)
      throw new OperatorError(
        'still-going-down',
        'the agent on this node still stops services and takes addresses away after its start',
        'see `mailtwin status` and the log of the agent (`journalctl -u mailtwin`), then run the command again',
      );
  }

  async #run(request: RunRequest, push: (line: TakeoverLine) => void, gone: AbortSignal, stop: AbortSignal): Promise<TakeoverReport> {
    const { kind, confirm, by, manual } = request;
    const { node, pin, config } = this.#p.facts;
    const order: TakeoverOrder = { by, manual, say: push, signal: AbortSignal.any([gone, stop]) };
    const peer = pin()?.node ?? '';
    if (confirm !== peer)
      throw new OperatorError(
        'wrong-name',
        `the other node is called ${peer}, not ${JSON.stringify(confirm)}`,
        `type ${peer}, or give --confirm ${peer}, if that is the node that is to go out of service`,
        exitCodes.refused,
      );
    await this.#startEnded(order.signal);
    const interrupted = await this.#runner.settle(kind, order);
    if (interrupted !== null) return interrupted;
    const now = await this.plan({ kind, overrides: request.plan?.overrides ?? request.overrides, by }, order.signal);
    if (request.plan !== null) {
      const stale = checkBasis(request.plan, { wallMs: systemClock.wallMs(), node: config.node, basis: now.basis, guards: now.guards });
      if (stale !== null)
        throw new OperatorError(
          'plan-stale',
          `the plan does not fit any more: ${stale.join('; ')}`,
          `plan again with \`mailtwin ${kind} --dry-run\``,
          exitCodes.refused,
        );
      if (request.plan.kind !== kind)
        throw new OperatorError(
          'plan-stale',
          `the plan is for a ${request.plan.kind}`,
          `run \`mailtwin ${request.plan.kind} --apply\``,
          exitCodes.refused,
        );
    }
    const plan = request.plan ?? now;
    for (const result of now.guards) push({ kind: 'guard', result, overridden: plan.overrides.includes(result.guard) });
    const refused = refusals(now.guards, plan.overrides);
    const [first] = refused;
    if (first) {
      const names = refused.map(({ guard }) => guard).join(', ');
      throw new OperatorError(
        'guard',
        `REFUSED: ${refused.length} of ${now.guards.length} checks fail: ${names}. guard ${first.guard}: ${first.why}`,
        first.remedy,
        exitCodes.refused,
      );
    }
    const { predictedLoss: loss } = plan;
    const loses = kind === 'failover' && (loss.messages !== 0 || loss.changes !== 0 || loss.seconds !== 0);
    if (loses && !request.acceptLoss)
      throw new OperatorError(
        'loss',
        'the predicted loss was not accepted',
        'type yes when asked, or give --accept-loss',
        exitCodes.refused,
      );
    if (node.role !== 'standby')
      throw new OperatorError('fenced', `this node is ${node.role}`, 'run `mailtwin rejoin` first', exitCodes.refused);
    return this.#runner.run(plan, order);
  }
}

function finish(report: TakeoverReport): StreamLine {
  const { exitCode, summary, remedy, code } = report;
  const facts = report as unknown as Record<string, unknown>;
  if (exitCode === exitCodes.done) return { kind: 'done', summary: remedy === '' ? summary : `${summary}; ${remedy}`, exitCode, facts };
  return { kind: 'error', code: code ?? 'failed', message: summary, remedy, exitCode };
}
