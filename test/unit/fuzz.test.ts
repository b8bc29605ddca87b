import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fuzz, showFailure, type Decoder } from '../fuzz/decoder.ts';
import { makeDecoders } from '../fuzz/decoders.ts';
import { SimRandom } from '../sim/sim-random.ts';

/** `npm run soak -- --fuzz` runs a million of each. FUZZ_ONLY, FUZZ_SEED, FUZZ_FIRST and FUZZ_CASES choose what is run here. */
const { FUZZ_ONLY: only = '', FUZZ_SEED: seed = '1', FUZZ_FIRST: first = '0', FUZZ_CASES: cases } = process.env;
/** A request over a socket, and a whole configuration, take longer than the others. */
const slow = new Map([
  ['configuration', 300],
  ['request on the control socket', 500],
  ['request for page and metrics', 500],
  ['certificate of the mail server', 500],
]);
const casesEach = 2000;

let decoders: Decoder[] = [];
beforeAll(async () => {
  decoders = await makeDecoders();
});
afterAll(async () => {
  for (const decoder of decoders) await decoder.close?.();
});

const names = [
  'frame of the peer',
  'messages on a connection',
  'first message',
  'line of pairing',
  'refusal of a stranger',
  'dovecot-uidlist',
  'dovecot.index.log',
  'dovecot.index',
  'files of a mailbox',
  'dovecot-keywords',
  'name below a root',
  'target of a link',
  'frame of ARP or neighbour discovery',
  'Host header and addresses',
  "kernel's word of the network",
  'output of ip',
  'output of doveconf',
  'name in a queue',
  'metadata of a fence agent',
  'stored list of chunks',
  'configuration',
  'certificate of the mail server',
  'request on the control socket',
  'request for page and metrics',
];

describe('whatever it is given, it accepts or refuses, and nothing else happens (I11, I23)', () => {
  it('names every decoder', () => expect(decoders.map(({ name }) => name)).toEqual(names));

  it.each(names.filter((name) => name.includes(only)))('%s', async (name) => {
    const decoder = decoders.find((each) => each.name === name) ?? expect.fail();
    const result = await fuzz(decoder, (each) => new SimRandom(each), {
      seed: Number(seed),
      first: Number(first),
      cases: cases === undefined ? (slow.get(name) ?? casesEach) : Number(cases),
    });
    expect(result.failures.map(showFailure)).toEqual([]);
    // Inputs that are all refused, or never, would say nothing of it.
    if (cases === undefined) expect(Math.min(result.accepted, result.refused)).toBeGreaterThan(0);
  });
});
