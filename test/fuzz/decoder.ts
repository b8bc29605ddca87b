import type { SimRandom } from '../sim/sim-random.ts';

/** What became of an input: a value that passes the type's own rules, or an error that is the product's own. */
export type Outcome = 'accepted' | 'refused';

/** Something of the product that reads what somebody else wrote. */
export interface Decoder {
  name: string;
  /** Who writes what it reads: less trusted than the agent. */
  from: 'peer' | 'network' | 'users' | 'host';
  /** An input: valid, or made of valid ones. */
  make(random: SimRandom): Buffer;
  /** @throws when it does anything else than accept or refuse. */
  take(input: Buffer): Outcome | Promise<Outcome>;
  /** What was started for it ends. */
  close?(): Promise<void>;
}

/** What did not go as it must: how to run it again alone, and with what. */
export interface Failure {
  decoder: string;
  seed: number;
  index: number;
  why: string;
  input: string;
}

export interface FuzzResult {
  decoder: string;
  from: Decoder['from'];
  cases: number;
  accepted: number;
  refused: number;
  /** Milliseconds of the case that took longest, and its number. */
  worstMs: number;
  worstIndex: number;
  failures: Failure[];
}

const failuresMax = 5;
/** Whatever it is made of, an input takes no longer. Far above what any takes, so that a slow machine changes nothing. */
const caseMsMax = 20_000;
const inputCharsShown = 2000;

/** The input of one case: the same for a seed and a number, whatever ran before. */
export function inputOf(decoder: Decoder, random: (label: string) => SimRandom): Buffer {
  return decoder.make(random(decoder.name));
}

/**
 * Runs cases `first` to `first + cases - 1` of a seed. Each has a source of chance of its own, so that any can be run alone.
 *
 * @param more asked between cases; false ends the run early.
 */
export async function fuzz(
  decoder: Decoder,
  randomOf: (seed: number) => SimRandom,
  { seed, cases, first = 0 }: { seed: number; cases: number; first?: number },
  more: () => boolean = () => true,
): Promise<FuzzResult> {
  const result: FuzzResult = {
    decoder: decoder.name,
    from: decoder.from,
    cases: 0,
    accepted: 0,
    refused: 0,
    worstMs: 0,
    worstIndex: first,
    failures: [],
  };
  for (let index = first; index < first + cases && more() && result.failures.length < failuresMax; index++) {
    const input = inputOf(decoder, (label) => randomOf(Math.imul(index + 1, 0x9e37_79b1) ^ seed).fork(label));
    const fail = (why: string) =>
      result.failures.push({ decoder: decoder.name, seed, index, why, input: input.toString('hex').slice(0, inputCharsShown) });
    const started = performance.now();
    try {
      const outcome = decoder.take(input);
      result[typeof outcome === 'string' ? outcome : await outcome]++;
    } catch (error) {
      fail(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    const tookMs = performance.now() - started;
    if (tookMs > result.worstMs) [result.worstMs, result.worstIndex] = [tookMs, index];
    if (tookMs > caseMsMax) fail(`it took ${Math.round(tookMs)} ms`);
    const polluted = pollution();
    if (polluted !== null) fail(`it changed a prototype: ${polluted}`);
    result.cases++;
  }
  return result;
}

const prototypes = [Object.prototype, Array.prototype, Function.prototype, String.prototype, Buffer.prototype];
const keysBefore = prototypes.map((prototype) => Reflect.ownKeys(prototype).length);

/** What every object has got meanwhile; null when nothing. What was found is taken away, so that the next case is judged for itself. */
function pollution(): string | null {
  for (const [i, prototype] of prototypes.entries()) {
    if (Reflect.ownKeys(prototype).length === keysBefore[i]) continue;
    const added = String(Reflect.ownKeys(prototype).at(-1));
    Reflect.deleteProperty(prototype, added);
    return added;
  }
  return null;
}

/** How a failure is shown: all that is needed to run it again. */
export function showFailure({ decoder, seed, index, why, input }: Failure): string {
  return `${decoder}, seed ${seed}, case ${index}: ${why}\n  input ${input}\n  again: FUZZ_ONLY='${decoder}' FUZZ_SEED=${seed} FUZZ_FIRST=${index} FUZZ_CASES=1 npx vitest run --project unit test/unit/fuzz.test.ts`;
}
