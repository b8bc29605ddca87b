import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { run } from './processes.ts';

/**
 * A BMC that speaks Redfish (DSP0266), as far as `fence_redfish` asks: the service root, one computer system with its
 * `PowerState`, and `ComputerSystem.Reset`.
 */
export class Redfish implements AsyncDisposable {
  readonly username = 'admin';
  readonly password = 'redfish-1';
  powerState: 'On' | 'Off' | 'PoweringOff' = 'On';
  /** What `ComputerSystem.Reset` was asked for. */
  readonly resets: string[] = [];
  /** What becomes of the power when it is switched off. */
  onPowerOff: () => void = () => (this.powerState = 'Off');
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(dir: string): Promise<Redfish> {
    const [key, cert] = [join(dir, 'redfish.key'), join(dir, 'redfish.crt')];
    const subject = ['-subj', '/CN=bmc', '-addext', 'subjectAltName=IP:127.0.0.1'];
    await run('openssl', [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
      ...subject,
      '-keyout',
      key,
      '-out',
      cert,
    ]);
    const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) });
    const redfish = new Redfish(server);
    server.on('request', (request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        const [code, answer] = redfish.#answer(request.headers.authorization ?? '', request.url ?? '', body);
        response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return redfish;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  #answer(authorization: string, url: string, body: string): [number, object] {
    if (authorization !== `Basic ${Buffer.from(`${this.username}:${this.password}`).toString('base64')}`)
      return [401, { error: { code: 'Base.1.0.NoValidSession' } }];
    const system = '/redfish/v1/Systems/1';
    const reset = `${system}/Actions/ComputerSystem.Reset`;
    if (url === reset && body !== '') {
      const { ResetType } = JSON.parse(body) as { ResetType: string };
      this.resets.push(ResetType);
      if (ResetType === 'ForceOff') this.onPowerOff();
      return [200, {}];
    }
    if (url === '/redfish/v1') return [200, { Systems: { '@odata.id': '/redfish/v1/Systems' } }];
    if (url === '/redfish/v1/Systems') return [200, { Members: [{ '@odata.id': system }] }];
    if (url === system) return [200, { PowerState: this.powerState, Actions: { '#ComputerSystem.Reset': { target: reset } } }];
    return [404, {}];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
