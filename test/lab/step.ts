/** One thing that a soak looks at, as a line. @throws with what was seen when it is not so. */
export function step(what: string, isTrue: boolean, seen: unknown = ''): void {
  console.log(`${new Date().toISOString().slice(11, 19)}  ${isTrue ? 'ok  ' : 'FAIL'}  ${what}`);
  if (!isTrue) throw new Error(`not so: ${what}: ${typeof seen === 'string' ? seen : JSON.stringify(seen, null, 1)}`);
}
