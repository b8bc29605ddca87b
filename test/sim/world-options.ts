import { historyOptions, type HistoryOptions } from './history-options.ts';
import type { FoldRule } from './folds.ts';
import { SimRandom } from './sim-random.ts';

/**
 * What real disks and machines do that the first simulated world did not know. Each can be switched on alone:
 * `SIM_WORLD=errno,hot` names them, `SIM_WORLD=all` means all, and without it those are on that the product is known
 * to bear.
 */
export const traits = ['errno', 'mounts-a', 'mounts-b', 'birthtimes', 'times', 'refusals', 'folding', 'hot', 'state-full'] as const;
export type Trait = (typeof traits)[number];

/** Those that histories have shown to be borne. */
export const bornTraits: readonly Trait[] = traits;

/** The world of one history. */
export interface World {
  /** Each file call of an agent may fail with any errno: of a path for a while, of a root, or here and there. */
  errno: boolean;
  /** A disk below the primary's root and one under or below the standby's, which come and go. */
  mounts: { a: string | null; b: string | null };
  birthTimes: { a: boolean; b: boolean };
  /** What times are cut to on each host, nanoseconds. */
  timesNs: { a: bigint; b: bigint };
  /** Owners and attributes that the standby cannot set. */
  refusals: boolean;
  /** The rule by which the standby takes several names for one, if it does. */
  folding: FoldRule | null;
  /** A file that never rests. */
  hot: boolean;
  /** The disk of a state directory is full for a while. */
  stateFull: boolean;
}

function chosenTraits(): ReadonlySet<Trait> {
  const wanted = process.env['SIM_WORLD'];
  if (wanted === undefined) return new Set(bornTraits);
  if (wanted === 'all') return new Set(traits);
  const names = wanted.split(',').filter((name) => name !== '');
  const known = traits.filter((trait) => names.includes(trait));
  if (known.length !== names.length) throw new Error(`SIM_WORLD is ${wanted}; it takes ${traits.join(', ')} or all`);
  return new Set(known);
}

/** The conditions of a seed, with a world that has each of the traits in about half of all histories. */
export function worldOptions(seed: number, on: ReadonlySet<Trait> = chosenTraits()): HistoryOptions & { world: World } {
  const random = new SimRandom(seed).fork('world');
  const has = Object.fromEntries(traits.map((trait) => [trait, random.chance(0.5)])) as Record<Trait, boolean>;
  const is = (trait: Trait) => on.has(trait) && (has[trait] || on.size === 1);
  const either = <T>(wanted: boolean, odd: T, usual: T) => {
    const which = random.int(3);
    return { a: wanted && which !== 1 ? odd : usual, b: wanted && which !== 0 ? odd : usual };
  };
  const below = '/plain/disk';
  const rule = new SimRandom(seed).fork('folding').pick(['ascii', 'unicode', 'unicode', 'own'] as const);
  const onB = random.pick(['/plain', '/mail', below]);
  return {
    ...historyOptions(seed),
    world: {
      errno: is('errno'),
      mounts: { a: is('mounts-a') ? below : null, b: is('mounts-b') ? onB : null },
      birthTimes: either(is('birthtimes'), false, true),
      timesNs: either(is('times'), random.pick([1_000_000_000n, 2_000_000_000n, 100n]), 1n),
      refusals: is('refusals'),
      folding: is('folding') ? rule : null,
      hot: is('hot'),
      stateFull: is('state-full'),
    },
  };
}

export const plainWorld: World = {
  errno: false,
  mounts: { a: null, b: null },
  birthTimes: { a: true, b: true },
  timesNs: { a: 1n, b: 1n },
  refusals: false,
  folding: null,
  hot: false,
  stateFull: false,
};
