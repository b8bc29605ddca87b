import type { NicsReport, SegmentProof } from '../../protocol/nics.ts';
import type { HeldDeletionsAnswer, NotifyTest, PairingOffer, RejoinBody, Status, StreamLine } from '../../protocol/control.ts';
import type { MigrateReport, MigrateStatus } from '../../protocol/migrate.ts';
import type { Operator, Plan, PlanRequest, RunRequest, TakeoverLast } from '../../protocol/takeover.ts';

/** What the control socket can ask of the running agent. main.ts hands it in. Errors are OperatorErrors. */
export interface AgentApi {
  status(): Status;
  wait(timeoutSeconds: number, signal: AbortSignal): AsyncIterable<StreamLine>;
  verify(deep: boolean, signal: AbortSignal): AsyncIterable<StreamLine>;
  startScrub(request: { by: Operator }): Promise<void>;
  /** `place`: `root/path` as the status names it. */
  restoreDamaged(request: { place: string; by: Operator }, signal: AbortSignal): AsyncIterable<StreamLine>;
  /** `replace`: although this node is paired already, because the other one was set up anew. */
  offerPairing(replace: boolean): PairingOffer;
  pairingResult(signal: AbortSignal): AsyncIterable<StreamLine>;
  allowDelete(request: { places: string[]; all: boolean; by: Operator }): Promise<HeldDeletionsAnswer>;
  acceptRoots(request: { names: string[]; by: Operator }): Promise<{ accepted: string[]; same: string[] }>;
  /** Reads the power state through each fence level; facts of the last line: `readings`. */
  fenceTest(signal: AbortSignal): AsyncIterable<StreamLine>;
  nics(): Promise<NicsReport>;
  assignNic(role: string, port: string, unproven: boolean): Promise<SegmentProof>;
  swapNics(first: string, second: string, unproven: boolean): Promise<SegmentProof[]>;
  /** `blink`: a port whose light blinks; null watches the cables. */
  identifyNics(seconds: number, blink: string | null, signal: AbortSignal): AsyncIterable<StreamLine>;
  takeoverPlan(request: PlanRequest): Promise<Plan>;
  takeoverRun(request: RunRequest, signal: AbortSignal): AsyncIterable<StreamLine>;
  takeoverLast(): TakeoverLast;
  salvage(request: { apply: boolean; by: Operator }, signal: AbortSignal): AsyncIterable<StreamLine>;
  /** On a primary whose store was put back: goes on with its state (I21). */
  keepThisStore(request: { confirm: string; serverStopped: boolean; by: Operator }, signal: AbortSignal): AsyncIterable<StreamLine>;
  rejoin(request: RejoinBody, signal: AbortSignal): AsyncIterable<StreamLine>;
  metrics(): Promise<{ text: string }>;
  migrateStatus(): Promise<MigrateStatus>;
  migrateSnapshot(file: string): Promise<{ mailboxes: number; messages: number }>;
  migrateReport(file: string): Promise<MigrateReport>;
  notifyTest(): Promise<NotifyTest>;
  stop(): void;
}
