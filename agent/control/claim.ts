import { closeSync, openSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { controlSocketName } from '../../protocol/control.ts';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode } from '../platform/files.ts';
import { tryLock } from '../platform/native.ts';
import { shortSocketPath } from './socket-path.ts';

const probeMs = 2000;

/**
 * Makes a state directory this agent's own until `release`, and removes a socket that a killed agent left behind.
 *
 * A socket alone cannot decide between agents that start at once: what one finds stale and removes may be what the
 * other has just made. The lock decides.
 *
 * @throws OperatorError `already-running` when another agent has it.
 */
export async function claimStateDir(stateDir: string): Promise<{ release(): void }> {
  let fd: number | undefined;
  const release = () => {
    if (fd !== undefined) closeSync(fd);
    fd = undefined;
  };
  try {
    // The kernel drops the lock when the process ends, however it ends: the file itself may stay.
    fd = openSync(join(stateDir, 'agent.lock'), 'a', 0o600);
    if (!tryLock(fd) || (await someoneAnswers(stateDir))) throw alreadyRunning(stateDir);
    rmSync(join(stateDir, controlSocketName), { force: true });
    return { release };
  } catch (error) {
    release();
    throw error instanceof OperatorError ? error : unusable(stateDir, error);
  }
}

function alreadyRunning(stateDir: string): OperatorError {
  return new OperatorError(
    'already-running',
    `another agent is already running on the state directory ${stateDir}`,
    'ask it with `mailtwin status`, or stop it first; a second agent on this host needs its own configuration and state directory',
  );
}

/** For whatever keeps the control socket from being made. */
export function unusable(stateDir: string, error: unknown): OperatorError {
  return new OperatorError(
    'control-socket',
    `cannot make the control socket in ${stateDir}: ${error instanceof Error ? error.message : String(error)}`,
    'the state directory must exist on a local file system and belong to the user that the agent runs as; run `mailtwin init` when this node is new',
  );
}

/** False only when it is certain that no process listens there. */
async function someoneAnswers(stateDir: string): Promise<boolean> {
  const bound = shortSocketPath(stateDir, controlSocketName);
  try {
    return await new Promise<boolean>((resolve, reject) => {
      const socket = connect(bound.path);
      // No answer in time is an answer: somebody holds the socket open.
      socket.setTimeout(probeMs, () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', (error) => {
        const code = errnoCode(error);
        if (code === 'ENOENT' || code === 'ECONNREFUSED') resolve(false);
        // The queue of connections is full.
        else if (code === 'EAGAIN') resolve(true);
        else reject(error);
      });
    });
  } finally {
    bound.release();
  }
}
