import { exchange } from './exchange.ts';

// Lets two names change places up to so many times, as somebody can who owns the directory that they are in; a test kills it.
const [one = '', other = '', times = '0'] = process.argv.slice(2);
process.stdout.write('begun\n');
for (let i = 0; i < Number(times); i++) exchange(one, other);
