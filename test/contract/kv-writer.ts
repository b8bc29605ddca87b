import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';

// Commits rounds of 50 keys for ever and prints the number of each round that is durable; the test kills it.
const kv = openLmdbKv(process.argv[2] as string);
for (let round = 0; ; round++) {
  const name = String(round).padStart(6, '0');
  kv.commit(Array.from({ length: 50 }, (_, i) => [Buffer.from(`r${name}-${i}`), Buffer.alloc(100, i)] as const));
  if (round % 3 !== 2) continue;
  await kv.flushed();
  process.stdout.write(`${round}\n`);
}
