import { readFileSync, readlinkSync } from 'node:fs';
import { errnoCode } from './files.ts';

/** `stopped`: by SIGSTOP, until SIGCONT. `ended`: it does nothing any more, whether somebody has waited for it or not. */
export type ProcessState = 'works' | 'waits' | 'stopped' | 'ended';

/** Processes of this host (proc(5)), handed in so that their ways can be tried without them. */
export interface Processes {
  /** Processes that it started itself and that nobody has waited for yet; none when it is gone. */
  children(pid: number): number[];
  /** Path of the program that it runs; null when it has ended or cannot be looked at. */
  program(pid: number): string | null;
  state(pid: number): ProcessState;
  /** Whether a signal has been sent that it has not taken yet, because it is stopped or blocks it. */
  isPending(pid: number, signal: 'SIGTERM'): boolean;
  /** Sends a signal; nothing when the process is gone. @throws the error of Node when that is not permitted. */
  signal(pid: number, signal: 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): void;
}

const numbers = { SIGTERM: 15n };
/** The letters of a process that does nothing any more: a zombie, and one that is just being removed. */
const endedLetters = 'ZXx';

/** The processes of this host. */
export const realProcesses: Processes = {
  children: (pid) => textOf(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number),
  program(pid) {
    try {
      // A package that was upgraded meanwhile has removed the file (proc_pid_exe(5)).
      return readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, '');
    } catch {
      // It has ended, or is none of ours to look at.
      return null;
    }
  },
  state(pid) {
    // The name before it may have spaces and brackets.
    const letter = /\) (\S) [^)]*$/.exec(textOf(`/proc/${pid}/stat`))?.[1] ?? 'X';
    if (endedLetters.includes(letter)) return 'ended';
    return letter === 'T' ? 'stopped' : letter === 'S' ? 'waits' : 'works';
  },
  isPending(pid, signal) {
    const status = textOf(`/proc/${pid}/status`);
    const masks = [...status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)];
    return masks.some(([, mask]) => ((BigInt(`0x${mask}`) >> (numbers[signal] - 1n)) & 1n) === 1n);
  },
  signal(pid, signal) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (errnoCode(error) !== 'ESRCH') throw error;
    }
  },
};

/** Empty when the process is gone. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
