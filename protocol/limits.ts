/** Bounds of everything that travels between the two agents (I12). Sizes in bytes unless the name says otherwise. */
export const limits = {
  /** Largest frame that is sent or accepted. */
  frameBytesMax: 1024 * 1024,
  /** An ops frame is sent when its inline content reaches this. */
  opsFrameBytesTarget: 256 * 1024,
  /** One data frame of a streamed file. */
  dataFrameBytesMax: 256 * 1024,
  /** Files up to this size travel inside their op, many to a frame. */
  inlineFileBytesMax: 128 * 1024,
  /** Bulk bytes that may be under way to a peer that has not consumed them. */
  creditBytes: 8 * 1024 * 1024,
  /** A batch is closed when its content reaches this; one larger file still goes alone. */
  batchBytesTarget: 4 * 1024 * 1024,
  batchOpsMax: 2048,
  /** Batches sent and not yet acknowledged. */
  batchesInFlightMax: 4,
  /** Linux PATH_MAX. */
  pathBytesMax: 4095,
  /** Longest path of a root, on either node. */
  rootPathBytesMax: 255,
  /** Longest path below a root that is replicated: with any root before it, it is a path that the kernel takes. */
  replicatedPathBytesMax: 4095 - 256,
  /** Linux NAME_MAX. */
  nameBytesMax: 255,
  /** Largest regular file that is replicated. */
  fileBytesMax: 1024 ** 4,
  xattrBytesMax: 64 * 1024,
  watermarksPerMessageMax: 500,
  listItemsMax: 2000,
  /** Differences that one audit names; with paths of any length they still fit a frame. */
  differencesMax: 100,
  textBytesMax: 4096,
  rootsMax: 64,
  heartbeatIntervalMs: 1000,
  /** A peer that was silent for this long is taken for gone and the connection is closed. */
  peerSilentMs: 5000,
  handshakeMs: 10_000,
} as const;
