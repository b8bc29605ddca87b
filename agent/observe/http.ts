import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Status } from '../../protocol/control.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Log } from '../platform/log.ts';
import type { Metrics } from './metrics.ts';
import type { Pages } from './page/pages.ts';
import { readiness } from './readiness.ts';

export interface ObserveServer {
  /** The port that is bound (when 0 was asked for). */
  port: number;
  close(): Promise<void>;
}

const connectionsMax = 32;

/**
 * Serves /metrics (Prometheus text), /healthz (200 while the process works) and /readyz (200 or 503 with reasons as
 * JSON). Reads only, and tells no content of mail.
 *
 * @throws OperatorError `metrics-address` when the address cannot be bound.
 */
export async function startObserveServer(options: {
  listen: { host: string; port: number };
  metrics: Metrics;
  pages?: Pages;
  status: () => Status;
  log: Log;
}): Promise<ObserveServer> {
  const { listen, metrics, pages, status, log } = options;
  const server = createServer({ headersTimeout: 5000, requestTimeout: 5000, maxHeaderSize: 8192 }, (request, response) => {
    // A body is never read: what arrives after the headers is thrown away with the connection.
    if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, 405, 'text/plain', 'only GET\n');
    const path = (request.url ?? '').split('?')[0];
    if (path === '/healthz') return send(response, 200, 'text/plain', 'ok\n');
    if (path === '/readyz') return sendReadiness(response, status, log);
    if (path !== '/metrics') return void sendPage(response, pages, path ?? '/', request.headers['accept-language'] ?? '', log);
    metrics.render().then(
      (text) => send(response, 200, metrics.contentType, text),
      (error: unknown) => {
        log.error({ error }, 'metrics cannot be rendered');
        send(response, 500, 'text/plain', 'metrics cannot be rendered; the log of the agent says why\n');
      },
    );
  });
  server.maxConnections = connectionsMax;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new OperatorError(
          'metrics-address',
          `cannot serve metrics on ${listen.host}:${listen.port}: ${error.message}`,
          'set `metrics:` in the configuration to a free address of this host, or to off',
        ),
      ),
    );
    server.listen(listen.port, listen.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function sendPage(response: ServerResponse, pages: Pages | undefined, path: string, language: string, log: Log): Promise<void> {
  try {
    const answer = (await pages?.answer(path, language)) ?? null;
    if (!answer) return send(response, 404, 'text/plain', 'not found; there are /, /checklist, /metrics, /healthz and /readyz\n');
    response.writeHead(answer.status, {
      ...answer.headers,
      'content-type': answer.type,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
    response.end(answer.body);
  } catch (error) {
    log.error({ error }, 'a page cannot be made');
    send(response, 500, 'text/plain', 'the page cannot be made; the log of the agent says why\n');
  }
}

function sendReadiness(response: ServerResponse, status: () => Status, log: Log): void {
  try {
    const result = readiness(status());
    send(response, result.ready ? 200 : 503, 'application/json', `${JSON.stringify(result)}\n`);
  } catch (error) {
    log.error({ error }, 'readiness cannot be told');
    send(
      response,
      503,
      'application/json',
      `${JSON.stringify({ ready: false, reasons: [{ code: 'no-status', text: 'the agent cannot tell its status' }] })}\n`,
    );
  }
}

function send(response: ServerResponse, code: number, type: string, text: string): void {
  response.writeHead(code, { 'content-type': type, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
  response.end(text);
}
