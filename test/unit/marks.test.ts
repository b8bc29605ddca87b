import { beforeEach, describe, expect, it } from 'vitest';
import { tables } from '../../agent/journal/keys.ts';
import { packNumber } from '../../agent/journal/replica-index.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import { addPoint, markWrites, readMarks } from '../../agent/replicate/standby/marks.ts';

function memoryKv(): Kv {
  const data = new Map<string, Buffer>();
  return {
    get: (key) => data.get(key.toString('latin1')),
    *range(start, end) {
      for (const [key, value] of [...data].sort(([a], [b]) => (a < b ? -1 : 1)))
        if (key >= start.toString('latin1') && key < end.toString('latin1')) yield [Buffer.from(key, 'latin1'), value];
    },
    commit(writes) {
      for (const [key, value] of writes) {
        if (value) data.set(key.toString('latin1'), value);
        else data.delete(key.toString('latin1'));
      }
    },
    trouble: null,
    isBehind: false,
    writingMs: 0,
    flushed: async () => {},
    close: async () => {},
  };
}

describe('the watermarks that a standby keeps (I5)', () => {
  let kv: Kv;
  beforeEach(() => {
    kv = memoryKv();
  });
  const told = (wallMs: number, uidNext: number, uidValidity = 7) =>
    kv.commit(markWrites(kv, [['mail', 'anna/.Sent', uidValidity, uidNext, uidNext * 2]], wallMs));

  it('never go back under the same UIDVALIDITY, whatever was read last', () => {
    told(0, 90);
    told(20_000, 30);
    expect(readMarks(kv)).toMatchObject([{ uidNext: 90, highestModseq: 180, history: [{ uidNext: 90 }, { uidNext: 90 }] }]);
    told(40_000, 5, 8);
    expect(readMarks(kv)).toMatchObject([{ uidValidity: 8, uidNext: 5, highestModseq: 10 }]);
  });

  it('are the newest, with points of time from which the rate can be told', () => {
    told(0, 10);
    told(20_000, 30);
    told(40_000, 90);
    expect(readMarks(kv)).toEqual([
      {
        root: 'mail',
        mailbox: 'anna/.Sent',
        uidValidity: 7,
        uidNext: 90,
        highestModseq: 180,
        history: [
          { atMs: 0, uidNext: 10, highestModseq: 20 },
          { atMs: 20_000, uidNext: 30, highestModseq: 60 },
          { atMs: 40_000, uidNext: 90, highestModseq: 180 },
        ],
      },
    ]);
  });

  it('are read as an older version wrote them', () => {
    const key = Buffer.concat([Buffer.from([tables.watermark]), Buffer.from('mail')]);
    kv.commit([[key, Buffer.concat([packNumber(5), packNumber(8), packNumber(13)])]]);
    expect(readMarks(kv)).toEqual([{ root: 'mail', mailbox: '', uidValidity: 5, uidNext: 8, highestModseq: 13, history: [] }]);
  });

  it('begin anew with another UIDVALIDITY', () => {
    told(0, 1000);
    told(60_000, 3, 8);
    expect(readMarks(kv)[0]).toMatchObject({ uidValidity: 8, uidNext: 3, history: [{ atMs: 60_000, uidNext: 3 }] });
  });

  it('take both of two that come together', () => {
    kv.commit(
      markWrites(
        kv,
        [
          ['mail', 'anna', 1, 5, 5],
          ['mail', 'anna', 1, 6, 6],
        ],
        0,
      ),
    );
    expect(readMarks(kv)[0]?.uidNext).toBe(6);
  });
});

describe('the history of a watermark', () => {
  it('stays small, reaches back, and always ends with the newest, however often marks come', () => {
    let history: ReturnType<typeof addPoint> = [];
    for (let second = 0; second <= 3600; second++)
      history = addPoint(history, { atMs: second * 1000, uidNext: second, highestModseq: second });
    expect(history.length).toBeLessThanOrEqual(12);
    expect(history.at(-1)?.uidNext).toBe(3600);
    expect(3600 - (history[0]?.uidNext ?? 3600)).toBeGreaterThanOrEqual(90);
  });

  it('forgets what a clock said that was set back', () => {
    const point = { atMs: 5000, uidNext: 2, highestModseq: 2 };
    expect(addPoint([{ atMs: 9000, uidNext: 1, highestModseq: 1 }], point)).toEqual([point]);
  });
});
