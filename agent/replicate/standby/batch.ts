import type { Position } from '../../../protocol/position.ts';
import type { Layer } from '../../journal/layer.ts';
import type { BytePath } from '../../platform/files.ts';
import type { KvWrite } from '../../platform/kv.ts';
import type { Root } from '../root.ts';
import type { Step } from './steps.ts';

/** An entry of a batch's directory table. */
export interface BatchDir {
  root: Root;
  path: BytePath;
}

/** A batch on its way: what was staged, and what will be done once it is durable. */
export interface Batch {
  id: number;
  from: Position;
  to: Position | null;
  dirs: BatchDir[];
  layer: Layer;
  steps: Step[];
  /** Writes that go with the batch's commit: records of history. */
  writes: KvWrite[];
  /** Staged files by absolute path, to remove when the batch is rejected. */
  staged: BytePath[];
  /** Removed directories that history does not keep, to delete after the batch. */
  trash: BytePath[];
  /** Where content that this batch gives a path is before the steps are done: absolute path by absolute path. */
  whereabouts: Map<BytePath, BytePath>;
  /** Absolute paths that the steps touch. */
  touched: Set<BytePath>;
  ops: number;
  bytes: number;
  /** Frames of this batch that were consumed but must not be acted on: why it will be rejected. */
  failure: { code: RejectCode; ops: number[]; detail: string } | null;
  /** The op that waits for its content. */
  stream: StreamedFile | null;
}

export type RejectCode = 'base' | 'content' | 'no-space' | 'from' | 'io' | 'confined';

/** Content that arrives in data messages. */
export interface StreamedFile {
  expected: number;
  received: number;
  write(bytes: Buffer): void | Promise<void>;
  finish(): void | Promise<void>;
  abandon(): void;
}

/** An op that cannot be applied; becomes the batch's failure. */
export class OpRefused extends Error {
  readonly reject: RejectCode;
  constructor(reject: RejectCode, detail: string) {
    super(detail);
    this.reject = reject;
  }
}
