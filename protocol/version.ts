/**
 * Versions of the protocol between the two agents.
 *
 * - 1: first version.
 * - 2: nodes tell each other what their file systems can do, what is held, in doubt and left out; one op can be refused
 *   without its batch; large content travels apart from batches.
 *
 * A node speaks every version from `oldest` to `newest`; two nodes use the highest they share. A test holds the
 * schemas of messages.ts against the fingerprint beside them, so that a change of the wire without a new version fails.
 */
export const protocolVersions = { oldest: 2, newest: 2 } as const;
