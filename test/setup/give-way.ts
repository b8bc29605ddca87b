import { setPriority } from 'node:os';

/** Of a process that computes, beside others that wait for what happens within seconds. */
const niceness = 5;

setPriority(niceness);
