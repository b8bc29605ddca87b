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
const trimEveryMs = 10_000;

/**
 * Keeps memory that was freed from staying in the process. By itself glibc raises the size from which it returns memory
 * at once to that of the largest buffer that it saw, and keeps an arena a thread: after a fill that was a third of the
 * agent's memory. Where the C library is another one, nothing is changed.
 */
export function boundAllocator(): void {
  const libc = koffi.load(null);
  let trim: (pad: number) => number;
  try {
    const mallopt = libc.func('int mallopt(int parameter, int value)') as unknown as (parameter: number, value: number) => number;
    trim = libc.func('int malloc_trim(size_t pad)');
    mallopt(M_MMAP_THRESHOLD, largeBytes);
    mallopt(M_TRIM_THRESHOLD, spareBytes);
    mallopt(M_ARENA_MAX, arenasMax);
  } catch {
    // Another C library (musl) has neither call and gives memory back by itself.
    return;
  }
  // About a millisecond; what little blocks leave free between them goes back to the system.
  setInterval(() => trim(0), trimEveryMs).unref();
}
