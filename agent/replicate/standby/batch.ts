import type { MessageOf } from '../../../protocol/messages.ts';
import type { Position } from '../../../protocol/position.ts';
import type { Layer } from '../../journal/layer.ts';
import type { BytePath } from '../../platform/files.ts';
import type { KvWrite } from '../../platform/kv.ts';
import type { Root } from '../root.ts';
import type { Shortfall } from './shortfalls.ts';
import type { Step } from './steps.ts';

/** An entry of a batch's directory table. */
export interface BatchDir {
  root: Root;
  path: BytePath;
  /** It is known that the index has what lies in it, as far as this batch is concerned. */
  isListed?: boolean;
}

/** Where an op of a batch takes effect; paths are relative to the root. */
export interface BatchPlace {
  root: Root;
  path: BytePath;
  /** Of a move: where it was. */
  from?: BytePath;
  /** Of a second name: the other name of the same file, relative to the same root. */
  linked?: BytePath;
  /** Only attributes of what is there are set. */
  alone?: boolean;
  /** Of a move: its attributes are set besides. */
  anew?: boolean;
  /** A whole directory goes or moves. */
  tree: boolean;
  gone: boolean;
}

/** A new name that falls together with another one of its directory. */
export interface Beside {
  /** Number of the op that brings it. */
  op: number;
  /** Number of the directory in the index. */
  dir: number;
  name: BytePath;
  other: BytePath;
  /** Absolute path of the other one. */
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
  /** Number of the op that each step belongs to. */
  stepOps: number[];
  /** Where each op was, in order. */
  places: BatchPlace[];
  /** By number of op: what could not be given to its place. */
  shortfalls: Map<number, Shortfall>;
  /** Ops that move what could not be put into place before, by number. */
  owed: number[];
  /** Directories of which nobody knew what lies in them, and that go for this batch's ops. */
  renewed: { root: Root; path: BytePath }[];
  /** By number of op: why its place cannot be had here; the batch is refused for these, and can be without them. */
  refused: Map<number, string>;
  /** Places (absolute) that are not as this batch's ops have them, for what was refused. */
  missed: Set<BytePath>;
  /** Writes that go with the batch's commit: records of history. */
  writes: KvWrite[];
  /** Staged files by absolute path, to remove when the batch is rejected. */
  staged: BytePath[];
  /** Removed directories that history does not keep, to delete after the batch. */
  trash: BytePath[];
  /** Where content that this batch gives a path is before the steps are done: absolute path by absolute path. */
  whereabouts: Map<BytePath, BytePath>;
  /** How often file systems had come when it began. */
  arrivals: number;
  /** Absolute paths that the steps touch. */
  touched: Set<BytePath>;
  /** Names that nothing had before, where names may fall together: by number of the directory and fold key. */
  fresh: Map<string, BytePath[]>;
  /** Ops whose name falls together with that of something that was there when they came. */
  beside: Beside[];
  ops: number;
  bytes: number;
  /** Frames of this batch that were consumed but must not be acted on: why it will be rejected. */
  failure: { code: RejectCode; ops: number[]; detail: string } | null;
  /** Transfers whose staged files its ops use. */
  transfers: number[];
}

export type RejectCode = MessageOf<'reject'>['code'];

/** An op that cannot be applied; becomes the batch's failure. */
export class OpRefused extends Error {
  readonly reject: RejectCode;
  constructor(reject: RejectCode, detail: string) {
    super(detail);
    this.reject = reject;
  }
}
