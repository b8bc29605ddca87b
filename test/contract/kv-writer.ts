import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';

// Commits rounds of 50 keys, for ever unless a number is given, and prints the number of each round that is durable; a test kills it.
const kv = openLmdbKv(process.argv[2] as string);
const rounds = Number(process.argv[3] ?? Infinity);
for (let round = 0; round < rounds; round++) {
  const name = String(round).padStart(6, '0');
  kv.commit(Array.from({ length: 50 }, (_, i) => [Buffer.from(`r${name}-${i}`), Buffer.alloc(100, i)] as const));
  if (round % 3 !== 2) continue;
  await kv.flushed();
  process.stdout.write(`${round}\n`);
}
await kv.close();
