import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { writeDurable } from '../platform/durable-file.ts';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode } from '../platform/files.ts';
import { fingerprintOf } from './identity.ts';

/** What pairing left: whom this node trusts. */
export interface PinnedPeer {
  /** The pair's id, the same on both nodes. */
  pair: string;
  /** The other node's name. */
  node: string;
  /** The other node's public key, SPKI in DER. */
  spki: Buffer;
  fingerprint: string;
  /** Where the other node was found at pairing; tried after those of the configuration. */
  addresses: { host: string; port: number }[];
  /** ISO 8601, UTC. */
  pairedAt: string;
  /** 32 random bytes that only the pair knows; seeds what must be unpredictable for writers of mail. */
  secret: Buffer;
}

/** Where the pinned peer is kept; handed in. */
export interface Pins {
  /** The pinned peer, or null when this node is not paired. Reads afresh, so that pairing takes effect by itself. */
  read(): PinnedPeer | null;
  /** Durable when it returns. */
  write(peer: PinnedPeer): void;
  /** Calls `fn` after each `write` of this process. */
  onWrite(fn: (peer: PinnedPeer) => void): void;
}

const base64 = (bytesMin: number, bytesMax: number) =>
  z
    .string()
    .regex(/^[A-Za-z0-9+/]*={0,2}$/)
    .transform((text) => Buffer.from(text, 'base64'))
    .refine((bytes) => bytes.length >= bytesMin && bytes.length <= bytesMax);

const form = z.object({
  version: z.literal(1),
  pair: z.string().min(1).max(100),
  node: z.string().min(1).max(100),
  spki: base64(32, 4096),
  addresses: z.array(z.object({ host: z.string().min(1).max(255), port: z.number().int().min(1).max(65535) })).max(8),
  pairedAt: z.string().max(40),
  secret: base64(32, 32),
});

/** Pins in `peer.json` of the state directory. */
export function pinFile(stateDir: string): Pins {
  const path = join(stateDir, 'peer.json');
  const watchers: ((peer: PinnedPeer) => void)[] = [];
  let known: { text: string; peer: PinnedPeer } | null = null;
  return {
    read() {
      let text: string;
      try {
        text = readFileSync(path, 'utf8');
      } catch (error) {
        if (errnoCode(error) === 'ENOENT') return null;
        throw new OperatorError(
          'peer-file',
          `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
          'Run the agent as the user who owns the state directory.',
        );
      }
      // Read all the time: by every look at the state.
      if (known?.text !== text) known = { text, peer: parsePin(path, text) };
      return known.peer;
    },
    write(peer) {
      writeDurable(path, renderPin(peer));
      for (const fn of watchers) fn(peer);
    },
    onWrite(fn) {
      watchers.push(fn);
    },
  };
}

function renderPin(peer: PinnedPeer): string {
  const { pair, node, spki, fingerprint, addresses, pairedAt, secret } = peer;
  return `${JSON.stringify({ version: 1, pair, node, fingerprint, spki: spki.toString('base64'), addresses, pairedAt, secret: secret.toString('base64') }, null, 2)}\n`;
}

function parsePin(path: string, text: string): PinnedPeer {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  const result = form.safeParse(value);
  if (!result.success) {
    throw new OperatorError(
      'peer-file',
      `${path} is damaged: ${result.error.issues[0]?.path.join('.') || 'it is not what pairing wrote'}`,
      'Put the file back from a backup, or remove it and pair again.',
    );
  }
  const { version: _, ...peer } = result.data;
  return { ...peer, fingerprint: fingerprintOf(peer.spki) };
}
