import { chmodSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { z } from 'zod';
import { controlLimits, controlSocketName, exitCodes, type ControlError, type StreamLine } from '../../protocol/control.ts';
import {
  operatorSchema,
  planRequestSchema,
  runRequestSchema,
  type Operator,
  type PlanRequest,
  type RunRequest,
} from '../../protocol/takeover.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Log } from '../platform/log.ts';
import type { AgentApi } from './api.ts';
import { callerOf, nameOf, signedBy } from './caller.ts';
import { claimStateDir, unusable } from './claim.ts';
import { shortSocketPath } from './socket-path.ts';

export interface ControlServer {
  /** Absolute path of the socket. */
  path: string;
  /** Ends streams that are under way (their AbortSignal fires), closes and removes the socket. */
  close(): Promise<void>;
}

/** A fault of the caller that has an HTTP status of its own. */
class BadRequest extends OperatorError {
  readonly status: number;
  constructor(status: number, message: string) {
    super('bad-request', message, 'use the mailtwin command of the same version as the agent', exitCodes.usage);
    this.status = status;
  }
}

/** A route either gives one answer or a stream of lines. `tells`: it changes something that has no audit entry, and the log says who asked. */
type Route =
  | { schema: z.ZodType<unknown>; answer(api: AgentApi, body: never): unknown; tells?: true }
  | { schema: z.ZodType<unknown>; stream(api: AgentApi, body: never, signal: AbortSignal): AsyncIterable<StreamLine> };

const nothing = z.strictObject({});
const waitBody = z.strictObject({
  timeoutSeconds: z
    .number()
    .min(0)
    .max(30 * 86_400),
});
const pairBody = z.strictObject({ replace: z.boolean().default(false) });
const word = z.string().min(1).max(128);
const assignBody = z.strictObject({ role: word, port: word, unproven: z.boolean() });
const swapBody = z.strictObject({ first: word, second: word, unproven: z.boolean() });
const identifyBody = z.strictObject({ seconds: z.number().min(1).max(86_400), blink: word.nullable() });
const fileBody = z.strictObject({ file: z.string().min(2).max(4096).startsWith('/') });
const salvageBody = z.strictObject({ apply: z.boolean(), by: operatorSchema });
const keepBody = z.strictObject({ confirm: word, serverStopped: z.boolean(), by: operatorSchema });
const rejoinBody = z.strictObject({
  judge: z.boolean(),
  confirm: z.union([word, z.literal('')]),
  salvage: z.boolean(),
  unsalvaged: z.boolean(),
  by: operatorSchema,
});
const allowDeleteBody = z.strictObject({ places: z.array(z.string().min(1).max(4096)).max(1000), all: z.boolean(), by: operatorSchema });
const acceptRootBody = z.strictObject({ names: z.array(z.string().min(1).max(4096)).min(1).max(1000), by: operatorSchema });
const scrubStartBody = z.strictObject({ by: operatorSchema });
const scrubRestoreBody = z.strictObject({ place: z.string().min(1).max(8192), by: operatorSchema });
const verifyBody = z.strictObject({ deep: z.boolean() });

const routes: Record<string, Route> = {
  'GET /status': { schema: nothing, answer: (api) => api.status() },
  'POST /wait': { schema: waitBody, stream: (api, body: z.infer<typeof waitBody>, signal) => api.wait(body.timeoutSeconds, signal) },
  'POST /verify': { schema: verifyBody, stream: (api, body: z.infer<typeof verifyBody>, signal) => api.verify(body.deep, signal) },
  'POST /scrub/start': {
    schema: scrubStartBody,
    answer: async (api, body: z.infer<typeof scrubStartBody>) => {
      await api.startScrub(body);
      return {};
    },
  },
  'POST /scrub/restore': {
    schema: scrubRestoreBody,
    stream: (api, body: z.infer<typeof scrubRestoreBody>, signal) => api.restoreDamaged(body, signal),
  },
  'POST /pair': { schema: pairBody, answer: (api, body: z.infer<typeof pairBody>) => api.offerPairing(body.replace), tells: true },
  'POST /pair/result': { schema: nothing, stream: (api, _body, signal) => api.pairingResult(signal) },
  'POST /allow-delete': { schema: allowDeleteBody, answer: (api, body: z.infer<typeof allowDeleteBody>) => api.allowDelete(body) },
  'POST /accept-root': { schema: acceptRootBody, answer: (api, body: z.infer<typeof acceptRootBody>) => api.acceptRoots(body) },
  'POST /fence/test': { schema: nothing, stream: (api, _body, signal) => api.fenceTest(signal) },
  'GET /nics': { schema: nothing, answer: (api) => api.nics() },
  'POST /nics/assign': {
    schema: assignBody,
    answer: (api, body: z.infer<typeof assignBody>) => api.assignNic(body.role, body.port, body.unproven),
    tells: true,
  },
  'POST /nics/swap': {
    schema: swapBody,
    answer: (api, body: z.infer<typeof swapBody>) => api.swapNics(body.first, body.second, body.unproven),
    tells: true,
  },
  'POST /nics/identify': {
    schema: identifyBody,
    stream: (api, body: z.infer<typeof identifyBody>, signal) => api.identifyNics(body.seconds, body.blink, signal),
  },
  'POST /takeover/plan': { schema: planRequestSchema, answer: (api, body: PlanRequest) => api.takeoverPlan(body) },
  'POST /takeover/run': { schema: runRequestSchema, stream: (api, body: RunRequest, signal) => api.takeoverRun(body, signal) },
  'GET /takeover/last': { schema: nothing, answer: (api) => api.takeoverLast() },
  'POST /salvage': { schema: salvageBody, stream: (api, body: z.infer<typeof salvageBody>, signal) => api.salvage(body, signal) },
  'POST /keep-this-store': {
    schema: keepBody,
    stream: (api, body: z.infer<typeof keepBody>, signal) => api.keepThisStore(body, signal),
  },
  'POST /rejoin': { schema: rejoinBody, stream: (api, body: z.infer<typeof rejoinBody>, signal) => api.rejoin(body, signal) },
  'GET /metrics': { schema: nothing, answer: (api) => api.metrics() },
  'GET /migrate/status': { schema: nothing, answer: (api) => api.migrateStatus() },
  'POST /migrate/snapshot': { schema: fileBody, answer: (api, body: z.infer<typeof fileBody>) => api.migrateSnapshot(body.file) },
  'POST /migrate/report': { schema: fileBody, answer: (api, body: z.infer<typeof fileBody>) => api.migrateReport(body.file) },
  'POST /notify/test': { schema: nothing, answer: (api) => api.notifyTest() },
  'POST /stop': {
    schema: nothing,
    answer: (api) => {
      // The answer goes out first, because stopping closes this very socket.
      setImmediate(() => api.stop());
      return {};
    },
    tells: true,
  },
};

/**
 * Serves the control socket (`control.sock` in the state directory, mode 0600; requests in protocol/control.ts).
 *
 * @throws OperatorError `already-running` when another agent answers there.
 */
export async function startControlServer(options: { stateDir: string; api: AgentApi; log: Log }): Promise<ControlServer> {
  const { stateDir, api, log } = options;
  const claim = await claimStateDir(stateDir);
  const server = createServer(
    { headersTimeout: 10_000, requestTimeout: 10_000, maxHeaderSize: 8192, keepAlive: false },
    (request, response) => {
      handle(api, log, request, response).catch((error: unknown) => {
        log.error({ error }, 'control request failed');
        response.destroy();
      });
    },
  );
  server.maxConnections = controlLimits.connectionsMax;
  const bound = shortSocketPath(stateDir, controlSocketName);
  // The socket is made inside listen(); with this mask nobody else can connect, not even for a moment.
  const mask = isMainThread ? process.umask(0o177) : undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(bound.path, resolve);
      if (mask !== undefined) process.umask(mask);
    });
  } catch (error) {
    bound.release();
    claim.release();
    throw unusable(stateDir, error);
  }
  const path = join(stateDir, controlSocketName);
  if (mask === undefined) chmodSync(path, 0o600);
  let closing: Promise<void> | undefined;
  return {
    path,
    close: () =>
      (closing ??= new Promise<void>((resolve) => {
        server.close(() => {
          bound.release();
          rmSync(path, { force: true });
          claim.release();
          resolve();
        });
        server.closeAllConnections();
      })),
  };
}

async function handle(api: AgentApi, log: Log, request: IncomingMessage, response: ServerResponse): Promise<void> {
  // A client that goes away mid-answer is everyday; the signal below tells the work about it.
  response.on('error', () => {});
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  try {
    const route = routes[`${request.method} ${request.url}`];
    if (!route) throw new BadRequest(404, `unknown request: ${request.method} ${String(request.url).slice(0, 100)}`);
    const parsed = parseBody(await readBody(request), route.schema) as object;
    const caller = request.method === 'GET' ? null : await callerOf(request.socket, 'by' in parsed ? (parsed.by as Operator) : null);
    const body = caller === null ? parsed : signedBy(parsed, caller);
    if (caller !== null && 'tells' in route)
      log.info(
        { request: request.url, uid: caller.uid, pid: caller.pid, login: caller.login, tty: caller.tty },
        `asked by ${nameOf(caller)}`,
      );
    if ('answer' in route) return sendJson(response, 200, await route.answer(api, body as never));
    await sendStream(response, route.stream(api, body as never, gone.signal), gone.signal, log);
  } catch (error) {
    if (gone.signal.aborted) return;
    const { status, body } = toControlError(error, log);
    sendJson(response, status, body);
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > controlLimits.requestBytesMax) throw new BadRequest(413, `a request is larger than ${controlLimits.requestBytesMax} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function parseBody(text: string, schema: z.ZodType<unknown>): unknown {
  let value: unknown;
  try {
    value = text === '' ? {} : JSON.parse(text);
  } catch {
    throw new BadRequest(400, 'the request is not JSON');
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new BadRequest(400, `the request is not valid: ${issue ? `${issue.path.join('.') || 'body'}: ${issue.message}` : ''}`);
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  // Close, because a body that was too large has not been read to its end.
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify(value));
}

async function sendStream(response: ServerResponse, lines: AsyncIterable<StreamLine>, gone: AbortSignal, log: Log): Promise<void> {
  response.writeHead(200, { 'content-type': 'application/x-ndjson', connection: 'close' });
  response.flushHeaders();
  let ended = false;
  const send = async (line: StreamLine) => {
    ended = line.kind === 'done' || line.kind === 'error';
    if (!response.write(`${JSON.stringify(line)}\n`)) await drained(response);
  };
  try {
    for await (const line of lines) {
      if (gone.aborted) return;
      await send(line);
      if (ended) break;
    }
    if (!ended) throw new Error('the work ended without a result');
  } catch (error) {
    if (gone.aborted) return;
    await send({ kind: 'error', ...toControlError(error, log).body });
  }
  response.end();
}

/** Resolves when the client has read on, or is gone. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    if (response.destroyed) {
      resolve();
      return;
    }
    const done = () => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}

function toControlError(error: unknown, log: Log): { status: number; body: ControlError } {
  if (error instanceof OperatorError) {
    const { code, message, remedy, exitCode } = error;
    return { status: error instanceof BadRequest ? error.status : 409, body: { code, message, remedy, exitCode } };
  }
  log.error({ error }, 'control request failed');
  const message = error instanceof Error ? error.message : String(error);
  return {
    status: 500,
    body: { code: 'internal', message, remedy: 'look at the log of the agent; this is a fault of mailtwin', exitCode: exitCodes.failed },
  };
}
