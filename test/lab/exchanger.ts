import { exchange } from './exchange.ts';

// Lets two names change places up to so many times, as somebody can who owns the directory that they are in; a test kills it,
// and it ends with the test.
const [one = '', other = '', times = '0'] = process.argv.slice(2);
const parent = process.ppid;
process.stdout.write('begun\n');
for (let i = 0; i < Number(times) && (i % 1000 !== 0 || process.ppid === parent); i++) exchange(one, other);
