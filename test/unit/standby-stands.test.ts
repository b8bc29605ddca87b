import { describe, expect, it } from 'vitest';
import { checksumOf, emptyPosition, type Position } from '../../protocol/position.ts';
import { judgeStands, type Stands, type StandsFacts } from '../../agent/replicate/primary/standby-stands.ts';

/** A position: epoch, sequence number, grant. */
function at(epoch: number, seq: number, grant: number, chain = 'aaaaaaaa'): Position {
  return { epoch, seq, checksum: checksumOf(grant, chain) };
}

/** This primary of epoch 2 has sent up to grant 7; batch 100 of it is acknowledged. */
const facts: Omit<StandsFacts, 'peer'> = { epoch: 2, durable: at(2, 100, 6), inFlight: [], lastGrant: 7 };
const noGrant = { lastGrant: null };

describe('where a standby stands (I21)', () => {
  it.each<[string, Stands, Position, Partial<StandsFacts>]>([
    ['where the last acknowledged batch ended', 'known', at(2, 100, 6), {}],
    ['at a batch that is still under way', 'known', at(2, 101, 7), { inFlight: [at(2, 101, 7), at(2, 103, 7)] }],
    ['nowhere yet', 'new', emptyPosition, {}],
    ['nowhere yet, and neither is this primary', 'known', emptyPosition, { durable: emptyPosition }],
    ['on files that it adopted', 'new', { epoch: 0, seq: 0, checksum: '0123456789abcdef' }, {}],
    ['ahead under the grant that was taken last: a crash took the acknowledgement', 'unacknowledged', at(2, 104, 7), {}],
    ['ahead under an earlier grant, when power took what was acknowledged', 'unacknowledged', at(2, 104, 6), {}],
    ['ahead in the first fill, before anything was acknowledged', 'unacknowledged', at(2, 3, 1), { durable: emptyPosition }],
    ['ahead under a grant that this store never took', 'ours-put-back', at(2, 140, 8), {}],
    ['ahead by no number, under a grant that this store never took', 'ours-put-back', at(2, 100, 8), {}],
    ['ahead of a store that was put back into the first fill', 'ours-put-back', at(2, 90, 8), { durable: emptyPosition }],
    ['in an epoch that this primary does not know', 'ours-put-back', at(3, 5, 1), {}],
    ['in an epoch under which this store never sent', 'ours-put-back', at(2, 101, 7), { durable: at(1, 90, 4), ...noGrant }],
    ['behind what it acknowledged', 'theirs-put-back', at(2, 60, 4), {}],
    ['behind by no number, under an earlier grant', 'theirs-put-back', at(2, 100, 5), {}],
    ['in an epoch before the one that it acknowledged', 'theirs-put-back', at(1, 400, 50), {}],
    ['where the primary before the takeover left it', 'other-primary', at(1, 95, 50), { durable: at(1, 90, 4) }],
    [
      'where a primary before the takeover left it, whatever grants this node took long ago',
      'other-primary',
      at(1, 95, 50),
      { durable: at(1, 90, 4), lastGrant: 3 },
    ],
    ['ahead of a store of a release without grants', 'unacknowledged', at(2, 104, 0xdeadbeef), noGrant],
    ['behind a store that just took its first grant after a release without', 'theirs-put-back', at(2, 60, 0xdeadbeef), { lastGrant: 1 }],
    ['on an earlier life of a primary that lost its store', 'unacknowledged', at(2, 104, 7), { durable: emptyPosition, ...noGrant }],
  ])('%s: %s', (_, expected, peer, change) => {
    expect(judgeStands({ ...facts, ...change, peer })).toBe(expected);
  });
});
