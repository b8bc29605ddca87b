import { closeSync, constants, openSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import {
  controlLimits,
  controlSocketName,
  exitCodes,
  type ControlApi,
  type ControlError,
  type StreamLine,
} from '../../protocol/control.ts';
import { CommandError } from './command-error.ts';

type Requests = { [K in keyof ControlApi]: ControlApi[K]['answer'] extends StreamLine ? never : K }[keyof ControlApi];
type Streams = Exclude<keyof ControlApi, Requests>;

/** Asks the agent whose state directory this is. */
export interface ControlClient {
  /** @throws CommandError the agent's own, or `agent-not-running`. */
  ask<K extends Requests>(what: K, body: ControlApi[K]['body']): Promise<ControlApi[K]['answer']>;
  /** Lines as they come; ends after `done` or `error`. @throws CommandError like `ask`, and when the agent ends before the result. */
  stream<K extends Streams>(what: K, body: ControlApi[K]['body'], signal?: AbortSignal): AsyncGenerator<StreamLine>;
}

/** `answerMs`: as `controlLimits.answerMs`. */
export function controlClient(stateDir: string, { answerMs = controlLimits.answerMs }: { answerMs?: number } = {}): ControlClient {
  return {
    async ask(what, body) {
      const waitMs = what === 'POST /allow-delete' ? controlLimits.countingMs : answerMs;
      const opened = await open(stateDir, what, body, AbortSignal.timeout(waitMs));
      try {
        const value = JSON.parse(await readAll(opened.response)) as never;
        if (opened.response.statusCode !== 200) throw new CommandError(value);
        return value;
      } catch (error) {
        throw error instanceof CommandError ? error : connectError(error, stateDir);
      } finally {
        opened.release();
      }
    },
    async *stream(what, body, signal) {
      const opened = await open(stateDir, what, body, signal);
      try {
        if (opened.response.statusCode !== 200) throw new CommandError(JSON.parse(await readAll(opened.response)) as ControlError);
        for await (const line of readLines(opened.response)) {
          yield line;
          if (line.kind === 'done' || line.kind === 'error') return;
        }
        throw ended(stateDir);
      } catch (error) {
        if (error instanceof CommandError || signal?.aborted) throw error;
        throw ended(stateDir);
      } finally {
        opened.response.destroy();
        opened.release();
      }
    },
  };
}

function ended(stateDir: string): CommandError {
  return new CommandError({
    code: 'agent-ended',
    message: `the agent of ${stateDir} ended before it gave a result`,
    remedy: 'look at its log (journalctl -u mailtwin), start it again and repeat the command; nothing was changed by it',
    exitCode: exitCodes.failed,
  });
}

async function open(
  stateDir: string,
  what: string,
  body: unknown,
  signal?: AbortSignal,
): Promise<{ response: IncomingMessage; release(): void }> {
  const [method, path] = what.split(' ') as [string, string];
  const text = body === null ? '' : JSON.stringify(body);
  let fd: number | undefined;
  const release = () => {
    if (fd !== undefined) closeSync(fd);
    fd = undefined;
  };
  try {
    let socketPath = join(stateDir, controlSocketName);
    if (Buffer.byteLength(socketPath) > 107) {
      // A Unix socket's path is at most 107 bytes; through the open directory it is short.
      fd = openSync(stateDir, constants.O_RDONLY | constants.O_DIRECTORY);
      socketPath = `/proc/self/fd/${fd}/${controlSocketName}`;
    }
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const req = request({
        socketPath,
        method,
        path,
        agent: false,
        ...(signal ? { signal } : {}),
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
      });
      req.on('response', resolve);
      req.on('error', reject);
      req.end(text);
    });
    return { response, release };
  } catch (error) {
    release();
    throw connectError(error, stateDir);
  }
}

function connectError(error: unknown, stateDir: string): Error {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ECONNREFUSED') {
    return new CommandError({
      code: 'agent-not-running',
      message: `no agent is running on the state directory ${stateDir}`,
      remedy:
        'start it with `systemctl start mailtwin`, or in the foreground with `mailtwin run`, and name its configuration with --config',
      exitCode: exitCodes.failed,
    });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new CommandError({
      code: 'no-permission',
      message: `the control socket in ${stateDir} is not open to this user`,
      remedy: 'run the command as the user that the agent runs as (with sudo)',
      exitCode: exitCodes.failed,
    });
  }
  if (isTimeout(error)) return silent(stateDir, 'the time for it is over');
  if (code === 'ECONNRESET' || code === 'EPIPE') return silent(stateDir, message);
  return error as Error;
}

/** A request that is given up when its time is over fails with an AbortError whose cause says so. */
function isTimeout(error: unknown): boolean {
  const { name, cause } = error as Error;
  return name === 'TimeoutError' || (name === 'AbortError' && (cause as Error | undefined)?.name === 'TimeoutError');
}

function silent(stateDir: string, why: string): CommandError {
  return new CommandError({
    code: 'agent-silent',
    message: `the agent of ${stateDir} gave no answer: ${why}`,
    remedy: 'look at its log (journalctl -u mailtwin) whether it did what was asked; restart it if it hangs',
    exitCode: exitCodes.failed,
  });
}

async function readAll(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > controlLimits.answerBytesMax) throw new Error('the answer of the agent is too large');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

async function* readLines(response: IncomingMessage): AsyncGenerator<StreamLine> {
  let rest = '';
  response.setEncoding('utf8');
  for await (const part of response as AsyncIterable<string>) {
    const lines = (rest + part).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > controlLimits.streamLineBytesMax) throw new Error('a line of the agent is too long');
    for (const line of lines) if (line !== '') yield JSON.parse(line) as StreamLine;
  }
}
