import koffi from 'koffi';

const renameat2 = koffi
  .load(null)
  .func('int renameat2(int fromDir, const char *from, int toDir, const char *to, uint32_t flags)') as unknown as (
  ...args: [number, string, number, string, number]
) => number;

/** Two names change places in one moment, whatever they are (renameat2(2), RENAME_EXCHANGE). */
export function exchange(one: string, other: string): void {
  const [here, exchangeFlag] = [-100, 2];
  if (renameat2(here, one, here, other, exchangeFlag) !== 0) throw new Error(`${one} and ${other} cannot change places`);
}
