import { readdirSync, readFileSync } from 'node:fs';

/** Memory of a process in bytes, from /proc/PID/status (proc_pid_status(5)). */
export interface Memory {
  resident: number;
  /** Heap and stacks: what cannot be given back. */
  anonymous: number;
  /** Mapped files, tmpfs included: the database's pages; the kernel may take them back. */
  mapped: number;
  /** The highest resident size since the start. */
  residentPeak: number;
}

/** Clock ticks a second in /proc/PID/stat; the kernel shows every architecture this same figure (USER_HZ). */
const ticksPerSecond = 100;

export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024;
  return {
    resident: bytes('VmRSS'),
    anonymous: bytes('RssAnon'),
    mapped: bytes('RssFile') + bytes('RssShmem'),
    residentPeak: bytes('VmHWM'),
  };
}

/** Processor time of all threads of a process so far, in seconds, user and system. */
export function processorSeconds(pid: number): number {
  const [, , , , , , , , , , , user = '0', system = '0'] = statFields(pid);
  return (Number(user) + Number(system)) / ticksPerSecond;
}

/**
 * The child of this process that has `argument` on its command line.
 *
 * @throws when there is not exactly one.
 */
export function childWithArgument(argument: string): number {
  const pids = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return Number(statFields(pid)[1]) === process.pid && readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(argument);
      } catch {
        // It ended meanwhile.
        return false;
      }
    });
  const [pid] = pids;
  if (pid === undefined || pids.length > 1) throw new Error(`${pids.length} processes have ${argument} on their command line`);
  return pid;
}

/** Fields of /proc/PID/stat from the third on (the state); the second may contain spaces and brackets. */
function statFields(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}
