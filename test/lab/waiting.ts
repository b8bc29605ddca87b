import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/**
 * Waits until `condition` gives something other than false, null or undefined, and gives that.
 *
 * @param what named in the error when `timeoutMs` passes first, with the last error of the condition.
 */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  condition: () => T | false | null | undefined | Promise<T | false | null | undefined>,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let lastError: unknown;
  for (let delayMs = 2; ; delayMs = Math.min(delayMs * 2, 50)) {
    try {
      const value = await condition();
      if (value !== false && value !== null && value !== undefined) return value;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}`, lastError === undefined ? undefined : { cause: lastError });
    }
    await pause(delayMs);
  }
}

/** Whether something accepts TCP connections there. */
export function acceptsTcp(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (accepted: boolean) => {
      socket.destroy();
      resolve(accepted);
    };
    socket.setTimeout(1000, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

/** Waits until something accepts TCP connections there. */
export async function waitForPort(host: string, port: number, timeoutMs: number): Promise<void> {
  await waitFor(`a listener on ${host}:${port}`, timeoutMs, () => acceptsTcp(host, port));
}
