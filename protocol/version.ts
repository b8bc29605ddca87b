/**
 * Versions of the protocol between the two agents.
 *
 * - 1: first version.
 *
 * A node speaks every version from `oldest` to `newest`; two nodes use the highest they share. A test holds the
 * schemas of messages.ts against the fingerprint beside them, so that a change of the wire without a new version fails.
 */
export const protocolVersions = { oldest: 1, newest: 1 } as const;
