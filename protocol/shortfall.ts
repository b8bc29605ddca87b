/**
 * What a standby could not give a file or directory, as bits of one number: beside the batch's acknowledgement, in the
 * list of all of them, and in the standby's index.
 */
export const lacks = {
  owner: 1,
  mode: 2,
  /** Extended attributes, ACLs among them. */
  attributes: 4,
  /** Modification time. */
  time: 8,
  /** The place itself: what belongs there is not there, or what was to go is. */
  place: 16,
  /** The content that was put there: its disk gives something else back, or an error. */
  content: 64,
} as const;

/** All bits together. What has the value 32 is a standby's own and never travels. */
export const lacksMax = 95;
/** Why, for people; in bytes, and shorter than other texts, because one answer may name thousands. */
export const shortfallTextMax = 160;
/** Items of one message of the list; with paths of any length they fit a frame. */
export const shortfallItemsMax = 200;
/** Doubts that a heartbeat names. */
export const doubtsToldMax = 50;
/** Lagging files that a heartbeat names. */
export const laggingToldMax = 10;
