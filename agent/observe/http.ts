import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer as createPlainServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Status } from '../../protocol/control.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Log } from '../platform/log.ts';
import { KnownHosts } from './known-host.ts';
import type { Metrics } from './metrics.ts';
import { readiness } from './readiness.ts';

export interface ObserveServer {
  /** The port that is bound (when 0 was asked for). */
  port: number;
  close(): Promise<void>;
}

/** Answers one path. Called for GET and HEAD alone. */
export type Route = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

export interface ObserveOptions {
  listen: { host: string; port: number };
  /** PEM texts; without them plain HTTP is served. */
  tls?: { cert: string; key: string } | null;
  /** Basic auth (RFC 7617) on everything but /healthz; without it nobody is asked. */
  auth?: { user: string; password: string } | null;
  metrics: Metrics;
  status: () => Status;
  /** What this server is called, beside the address that it listens on; who asks by another name gets no answer. Default none. */
  names?: readonly string[];
  /** More paths. */
  routes?: Readonly<Record<string, Route>>;
  log: Log;
}

const connectionsMax = 32;

/**
 * Serves /metrics (Prometheus text), /healthz (200 while the process works), /readyz (200 or 503 with reasons as JSON)
 * and the given routes. Reads only, tells no content of mail, and answers only who asks by a name of this server.
 *
 * @throws OperatorError `metrics-address` when the address cannot be bound, `metrics-tls` when key and certificate do not fit.
 */
export async function startObserveServer(options: ObserveOptions): Promise<ObserveServer> {
  const { listen, tls = null, auth = null, metrics, status, log } = options;
  const known = new KnownHosts([listen.host, ...(options.names ?? [])]);
  const routes: Record<string, Route> = {
    ...options.routes,
    '/readyz': (_, response) => sendReadiness(response, status, log),
    '/metrics': async (_, response) => send(response, 200, metrics.contentType, await metrics.render()),
  };
  const handle: RequestListener = (request, response) => {
    const host = request.headers.host ?? null;
    if (!known.has(host, request.socket.localAddress)) return send(response, 421, 'text/plain', strangeHost(host));
    // A body is never read: what arrives after the headers is thrown away with the connection.
    if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, 405, 'text/plain', 'only GET\n');
    const path = (request.url ?? '').split('?')[0] ?? '';
    if (path === '/healthz') return send(response, 200, 'text/plain', 'ok\n');
    if (auth && !isAuthorized(request.headers.authorization, auth)) {
      response.setHeader('www-authenticate', 'Basic realm="mailtwin", charset="UTF-8"');
      return send(response, 401, 'text/plain', 'user and password are wanted\n');
    }
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    if (!route)
      return send(response, 404, 'text/plain', `not found; there are /healthz and ${Object.keys(routes).toSorted().join(', ')}\n`);
    Promise.resolve()
      .then(() => route(request, response))
      .catch((error: unknown) => {
        log.error({ error, path }, 'a page cannot be given');
        if (response.headersSent) response.destroy();
        else send(response, 500, 'text/plain', 'this cannot be given; the log of the agent says why\n');
      });
  };
  const limits = { headersTimeout: 5000, requestTimeout: 5000, maxHeaderSize: 8192 };
  const server = makeServer(tls, limits, handle);
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

function makeServer(
  tls: { cert: string; key: string } | null,
  limits: object,
  handle: RequestListener,
): ReturnType<typeof createPlainServer> {
  if (!tls) return createPlainServer(limits, handle);
  try {
    return createTlsServer({ ...limits, ...tls, minVersion: 'TLSv1.2' }, handle);
  } catch (error) {
    throw new OperatorError(
      'metrics-tls',
      `certificate and key of \`metrics.tls\` cannot be used: ${error instanceof Error ? error.message : String(error)}`,
      'give a certificate and its own key, both as PEM',
    );
  }
}

/** Compares digests, so that the time tells nothing of how much of a password was right. */
function isAuthorized(header: string | undefined, { user, password }: { user: string; password: string }): boolean {
  const given = /^Basic +([A-Za-z0-9+/=]+)$/i.exec(header ?? '')?.[1];
  if (given === undefined) return false;
  const digest = (text: string) => createHash('sha256').update(text, 'utf8').digest();
  return timingSafeEqual(digest(Buffer.from(given, 'base64').toString('utf8')), digest(`${user}:${password}`));
}

function strangeHost(host: string | null): string {
  const name = /^[\w.:[\]-]{1,255}$/.exec(host ?? '')?.[0].replace(/:\d+$/, '') ?? 'what you asked for';
  return `${name} is no name of this node: write it into \`metrics.names\` of its configuration, and restart its agent\n`;
}

function sendReadiness(response: ServerResponse, status: () => Status, log: Log): void {
  try {
    const result = readiness(status());
    send(response, result.ready ? 200 : 503, 'application/json', `${JSON.stringify(result)}\n`);
  } catch (error) {
    log.error({ error }, 'readiness cannot be told');
    const body = { ready: false, reasons: [{ code: 'no-status', text: 'the agent cannot tell its status' }] };
    send(response, 503, 'application/json', `${JSON.stringify(body)}\n`);
  }
}

/** An answer that nobody stores. */
export function send(response: ServerResponse, code: number, type: string, text: string | Buffer): void {
  response.writeHead(code, { 'content-type': type, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
  response.end(text);
}
