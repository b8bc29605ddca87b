import v8 from 'node:v8';
import vm from 'node:vm';
import koffi from 'koffi';

/** mallopt(3) of glibc. */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;
/** More than any buffer that comes and goes all the time: for each of those the system would clear new pages. */
const largeBytes = 1024 * 1024;
/** What may lie free at the end of the heap before it is given back at once. */
const spareBytes = 16 * 1024 * 1024;
const arenasMax = 2;
const lookEveryMs = 5000;
/** Less of a core than this is rest. */
const restShare = 0.05;
/** Work that leaves something worth collecting behind. */
const workSeconds = 5;
/** More than what the young part of the heap holds between two of its own collections. */
const heapGrowthBytesMax = 48 * 1024 * 1024;

/**
 * Keeps memory that is no longer used from staying in the process.
 *
 * By itself glibc raises the size from which it returns memory at once to that of the largest buffer that it saw, and
 * keeps an arena a thread; V8 collects the old part of its heap only when more is wanted. During and after a fill that was
 * half of the agent's memory. Where the C library is another one, its part is left as it is.
 */
export function boundMemory(): void {
  const trim = boundAllocator();
  let last = process.cpuUsage();
  let lastMs = performance.now();
  let worked = 0;
  let heapKept = heapBytes();
  const look = (): void => {
    const { user, system } = process.cpuUsage(last);
    const usedSeconds = (user + system) / 1e6;
    const isAtRest = usedSeconds < ((performance.now() - lastMs) / 1000) * restShare;
    worked += usedSeconds;
    if (isWorthCollecting({ isAtRest, worked, heapGrowth: heapBytes() - heapKept })) {
      collectGarbage();
      heapKept = heapBytes();
      worked = 0;
    }
    // About a millisecond; what little blocks leave free between them goes back to the system.
    trim(0);
    last = process.cpuUsage();
    lastMs = performance.now();
  };
  setInterval(look, lookEveryMs).unref();
}

/** `worked`: seconds of processor time, and `heapGrowth`: bytes, both since the last collection. */
export function isWorthCollecting({ isAtRest, worked, heapGrowth }: { isAtRest: boolean; worked: number; heapGrowth: number }): boolean {
  return (isAtRest && worked > workSeconds) || heapGrowth > heapGrowthBytesMax;
}

function heapBytes(): number {
  return v8.getHeapStatistics().used_heap_size;
}

function boundAllocator(): (pad: number) => number {
  try {
    const libc = koffi.load(null);
    const mallopt = libc.func('int mallopt(int parameter, int value)') as unknown as (parameter: number, value: number) => number;
    mallopt(M_MMAP_THRESHOLD, largeBytes);
    mallopt(M_TRIM_THRESHOLD, spareBytes);
    mallopt(M_ARENA_MAX, arenasMax);
    return libc.func('int malloc_trim(size_t pad)');
  } catch {
    // Another C library (musl) has neither call and gives memory back by itself.
    return () => 0;
  }
}

/** A whole collection, a tenth of a second or less. Without the flag V8 shows its `gc` in new contexts only. */
function collectGarbage(): void {
  v8.setFlagsFromString('--expose-gc');
  const gc: unknown = vm.runInNewContext('gc');
  v8.setFlagsFromString('--no-expose-gc');
  if (typeof gc === 'function') gc();
}
