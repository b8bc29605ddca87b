import { z } from 'zod';
import { section, whole } from '../schema-parts.ts';
import { argv } from './fencing.ts';

/** The section `takeover` after reading and checking. */
export interface TakeoverConfig {
  /** A primary whose peer stays silent starts alone after this, if nobody answers for its addresses. */
  startAloneSeconds: number;
  /** A quiesced primary that hears nothing more of the switchover serves again after this. */
  quiesceMaxSeconds: number;
  /** The least by which UIDs are raised after a takeover that may have lost a tail. */
  uidMarginMin: number;
  /** Programs by point, for example `before-fence`; with their arguments. */
  hooks: Partial<Record<HookPoint, string[]>>;
  /** A hook is ended after this. */
  hookTimeoutSeconds: number;
}

/** Steps of a takeover that a hook can stand before or after. */
export const hookPhases = ['quiesce', 'stepdown', 'fence', 'epoch', 'apply', 'raise', 'addresses', 'services', 'check'] as const;
export type HookPhase = (typeof hookPhases)[number];
export type HookPoint = `${'before' | 'after'}-${HookPhase}`;

const points = hookPhases.flatMap((phase): HookPoint[] => [`before-${phase}`, `after-${phase}`]);
const hooks = z.strictObject(Object.fromEntries(points.map((point) => [point, argv.optional()])), section);

export const takeoverSection = z.strictObject(
  {
    startAloneSeconds: whole(5, 86_400).default(60).meta({
      unit: 's',
      description:
        'A primary whose peer stays silent after a start serves alone after this time, unless somebody answers for its addresses or nothing answers it at all.',
    }),
    quiesceMaxSeconds: whole(5, 600).default(30).meta({
      unit: 's',
      description: 'A primary that was quiesced for a switchover serves again by itself when nothing more is heard of it.',
    }),
    // RFC 9051 2.3.1.1: a UID has 32 bits; a margin must leave room for many takeovers.
    uidMarginMin: whole(1, 10_000_000).default(100_000).meta({
      unit: 'UIDs',
      description:
        'UIDs are raised by at least this, and by more than all messages of the store, after a takeover that may have lost a tail.',
    }),
    hooks: hooks.prefault({}).meta({
      form: 'a section: program and arguments by point',
      otherwise: 'none',
      whole: true,
      description: `Programs that run at a point of a takeover: \`before-\` or \`after-\` one of ${hookPhases.map((phase) => `\`${phase}\``).join(', ')}. A before hook that fails stops the takeover as long as that is possible. They run in the sandbox of the agent.`,
    }),
    hookTimeoutSeconds: whole(1, 3600).default(30).meta({ unit: 's', description: 'A hook is ended after this time.' }),
  },
  section,
);

/** The keys of each part, for "did you mean". */
export const takeoverKeys: Record<string, string[]> = {
  takeover: Object.keys(takeoverSection.shape),
  'takeover.hooks': points,
};

export function toTakeoverConfig(form: z.output<typeof takeoverSection>): TakeoverConfig {
  const given = Object.entries(form.hooks).filter((entry): entry is [string, string[]] => entry[1] !== undefined);
  return { ...form, hooks: Object.fromEntries(given) };
}

/** What is in force where the file has no such section. */
export const takeoverDefaults: TakeoverConfig = toTakeoverConfig(takeoverSection.parse({}));
