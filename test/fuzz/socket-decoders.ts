import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type NetConnectOpts } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startControlServer } from '../../agent/control/server.ts';
import { startObserveServer } from '../../agent/observe/http.ts';
import { createMetrics } from '../../agent/observe/metrics.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { controlLimits } from '../../protocol/control.ts';
import type { SimRandom } from '../sim/sim-random.ts';
import { fakeAgent, sampleStatus } from '../unit/control-fixture.ts';
import { controlRequests } from './control-requests.ts';
import type { Decoder, Outcome } from './decoder.ts';
import { rawJson, writeJson } from './encodings.ts';
import { mutateText } from './text.ts';
import { mutateBytes, mutateValue, toValue } from './values.ts';

/** Sends bytes and closes; what was answered until the other side closed, too. */
export function exchange(where: NetConnectOpts, bytes: Buffer): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect({ ...where, allowHalfOpen: true }, () => socket.end(bytes));
    socket.setEncoding('latin1');
    socket.on('data', (part: string) => (answer += part));
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
    socket.on('end', () => socket.destroy());
  });
}

/** A request as bytes: the length is mostly right. */
export function httpRequest(random: SimRandom, line: string, body: Buffer): Buffer {
  const length = random.chance(0.95)
    ? body.length
    : random.pick([0, 1, body.length + 1, -1, 2 ** 31, 2 ** 53, controlLimits.requestBytesMax + 1]);
  const head = `${line} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;
  const shaken = random.chance(0.1)
    ? mutateText(random, head, ['transfer-encoding: chunked\r\n\r\n', 'x: y\r\n '.repeat(50)])
    : Buffer.from(head, 'latin1');
  return Buffer.concat([shaken, body]);
}

export function anyControlRequest(random: SimRandom): Buffer {
  const [line, body] = random.pick(controlRequests);
  if (random.chance(0.02)) return httpRequest(random, line, Buffer.from(JSON.stringify(body)));
  const text = writeJson(mutateValue(random, toValue(body), rawJson));
  return httpRequest(random, line, random.chance(0.2) ? mutateBytes(random, text, [text]) : text);
}

/** What an answer says of the request. @throws when it is none that this side gives on purpose. */
export function judgeAnswer(answer: string): Outcome {
  // The request was no HTTP, and the connection ended for it.
  if (answer === '') return 'refused';
  const status = /^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1];
  if (status === '200') return 'accepted';
  if (status === undefined || status.startsWith('5')) throw new Error(`answered ${answer.slice(0, 500)}`);
  const body = answer.slice(answer.indexOf('\r\n\r\n') + 4);
  if (body !== '' && body.startsWith('{')) {
    const { code, message, remedy } = JSON.parse(body) as { code: string; message: string; remedy: string };
    if (code === '' || code === 'internal' || remedy === '' || message.length > 2000) throw new Error(`answered ${body.slice(0, 500)}`);
  }
  return 'refused';
}

async function controlSocket(): Promise<Decoder> {
  const dir = mkdtempSync(join(tmpdir(), 'mailtwin-fuzz-'));
  const noPlan = new OperatorError('no-plan', 'no plan is made here', 'none');
  const server = await startControlServer({
    stateDir: dir,
    api: fakeAgent({ takeoverPlan: () => Promise.reject(noPlan) }),
    log: silentLog,
  });
  return {
    name: 'request on the control socket',
    from: 'users',
    make: anyControlRequest,
    take: async (input) => judgeAnswer(await exchange({ path: server.path }, input)),
    async close() {
      const answer = await exchange({ path: server.path }, Buffer.from('GET /status HTTP/1.1\r\nhost: x\r\n\r\n'));
      await server.close();
      rmSync(dir, { recursive: true, force: true });
      if (!answer.startsWith('HTTP/1.1 200 ')) throw new Error(`at the end it does not answer any more: ${answer.slice(0, 200)}`);
    },
  };
}

const pages = [
  '/metrics',
  '/healthz',
  '/readyz',
  '/page?x=1',
  '/../../etc/passwd',
  '//',
  '/%2e%2e/',
  '/metrics/',
  '*',
  'http://localhost/metrics',
];
const pageHead =
  'GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic bWU6c2VjcmV0\r\naccept-language: de\r\naccept: */*\r\n\r\n';
const pageHeads = pages.map((path) => pageHead.replace('/metrics', path));

async function statusPage(): Promise<Decoder> {
  const status = () => sampleStatus();
  const metrics = createMetrics({ status, wallMs: () => Date.parse('2026-01-02T03:04:05.000Z'), processMetrics: false });
  const server = await startObserveServer({
    listen: { host: '127.0.0.1', port: 0 },
    metrics,
    status,
    auth: { user: 'me', password: 'secret' },
    routes: { '/page': (_, response) => void response.end('the page') },
    log: silentLog,
  });
  return {
    name: 'request for page and metrics',
    from: 'network',
    make: (random) => (random.chance(0.02) ? Buffer.from(random.pick(pageHeads)) : mutateText(random, random.pick(pageHeads), pageHeads)),
    async take(input) {
      const answer = await exchange({ host: '127.0.0.1', port: server.port }, input);
      const text = input.toString('latin1');
      // Whoever gets more than health has shown the password, and asked for this server.
      if (/mailtwin_epoch|the page/.test(answer) && !/bWU6c2VjcmV0/.test(text)) throw new Error('it was told without a password');
      return judgeAnswer(answer);
    },
    async close() {
      const answer = await exchange({ host: '127.0.0.1', port: server.port }, Buffer.from(pageHead));
      await server.close();
      if (!answer.startsWith('HTTP/1.1 200 ')) throw new Error(`at the end it does not answer any more: ${answer.slice(0, 200)}`);
    },
  };
}

export async function socketDecoders(): Promise<Decoder[]> {
  return [await controlSocket(), await statusPage()];
}
