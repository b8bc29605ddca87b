/** Bounds of everything that travels between the two agents (I12). Sizes in bytes unless the name says otherwise. */
export const limits = {
  /** Largest frame that is sent or accepted. */
  frameBytesMax: 1024 * 1024,
  /** An ops frame is sent when its inline content reaches this. */
  opsFrameBytesTarget: 256 * 1024,
  /** Content in one frame, where content travels in parts. */
  dataFrameBytesMax: 256 * 1024,
  /** Content up to this size travels inside its op, many to a frame; more goes ahead of the batch, as a transfer. */
  inlineFileBytesMax: 128 * 1024,
  /** Pieces in one slice of a transfer. */
  slicePiecesMax: 1024,
  /** Transfers that the standby has open or staged. */
  transfersMax: 256,
  /** Bulk bytes that may be under way to a peer that has not consumed them. */
  creditBytes: 8 * 1024 * 1024,
  /** A batch is closed when its content reaches this. */
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
  /** Value of one extended attribute (Linux XATTR_SIZE_MAX). */
  xattrBytesMax: 64 * 1024,
  /** Name of one extended attribute (Linux XATTR_NAME_MAX). */
  xattrNameBytesMax: 255,
  /** Extended attributes of one file. */
  xattrsMax: 100,
  /** Names and values of all extended attributes of one file: with inline content beside them they fit a frame. */
  xattrsBytesMax: 256 * 1024,
  /** Linux's highest user and group number; the one above it means none. */
  ownerMax: 0xffff_fffe,
  /** Permission bits that travel: never setuid; setgid on directories alone (I11). */
  modeMax: 0o3777,
  /** Seconds before or after 1970 of a modification time: what a number carries exactly. */
  mtimeSecMax: Number.MAX_SAFE_INTEGER,
  /** UIDNEXT, UIDVALIDITY and HIGHESTMODSEQ of a mailbox: six bytes, as they are stored. */
  markMax: 2 ** 48 - 1,
  /** Epochs and sequence numbers: six bytes, as they are stored. */
  numberMax: 2 ** 48 - 1,
  /** How far apart the epochs of two nodes can be: a takeover raises them by one. */
  epochLeapMax: 1_000_000,
  watermarksPerMessageMax: 500,
  /** UIDVALIDITY and UIDNEXT have 32 bits (RFC 9051 2.3.1.1). */
  uidMax: 2 ** 32 - 1,
  /** Modification sequences have 63 bits (RFC 7162 3.1.1). What no server reaches is damage, and 48 bits are kept. */
  modseqMax: 2 ** 48 - 1,
  /** Places of held and allowed deletions in one message. */
  historyPlacesMax: 100,
  listItemsMax: 2000,
  /** Differences that one audit names; with paths of any length they still fit a frame. */
  differencesMax: 100,
  textBytesMax: 4096,
  rootsMax: 64,
  /** Patterns of what a root leaves out, and the longest one: those of all roots fit a frame. */
  excludesMax: 50,
  excludeBytesMax: 255,
  /** File systems that are not in their places and are told one by one; more of a root are told as the root. */
  fileSystemsToldMax: 64,
  heartbeatIntervalMs: 1000,
  /** A peer that was silent for this long is taken for gone and the connection is closed. */
  peerSilentMs: 5000,
  handshakeMs: 10_000,
} as const;
