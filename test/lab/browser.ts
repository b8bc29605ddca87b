import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { ownerMark } from './ownership.ts';
import { LabProcess } from './processes.ts';
import { waitFor } from './waiting.ts';

interface Event {
  method: string;
  params: Record<string, unknown>;
}

/** Debian's chromium without a window, told what to do over the DevTools protocol. */
export class Browser implements AsyncDisposable {
  readonly #process: LabProcess;
  readonly #dir: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (answer: { result?: unknown; error?: { message: string } }) => void>();
  readonly events: Event[] = [];
  #id = 0;

  private constructor(process: LabProcess, dir: string, socket: WebSocket) {
    this.#process = process;
    this.#dir = dir;
    this.#socket = socket;
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as Event & { id?: number; result?: unknown; error?: { message: string } };
      if (message.id === undefined) this.events.push(message);
      else this.#waiting.get(message.id)?.(message);
    });
  }

  static async start(language: string): Promise<Browser> {
    const dir = mkdtempSync(join(tmpdir(), `${ownerMark()}-browser-`));
    const chromium = new LabProcess('chromium', [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--remote-debugging-port=0',
      `--user-data-dir=${dir}`,
      `--lang=${language}`,
      `--accept-lang=${language}`,
      'about:blank',
    ]);
    const [, origin = ''] = await chromium.waitForLine(/DevTools listening on ws:\/\/([^/]+)\//, 60_000);
    const url = await waitFor('a page', 60_000, async () => {
      const pages = (await (await fetch(`http://${origin}/json/list`)).json()) as { type: string; webSocketDebuggerUrl: string }[];
      return pages.find(({ type }) => type === 'page')?.webSocketDebuggerUrl;
    });
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    const browser = new Browser(chromium, dir, socket);
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await browser.send(`${domain}.enable`);
    return browser;
  }

  async send<T = Record<string, unknown>>(method: string, params: Record<string, unknown> = {}): Promise<T> {
    const id = ++this.#id;
    const answer = await new Promise<{ result?: unknown; error?: { message: string } }>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
    this.#waiting.delete(id);
    if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
    return answer.result as T;
  }

  /** Size of the window, and whether the desktop is dark. */
  async look(width: number, height: number, isDark: boolean): Promise<void> {
    await this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 600 });
    await this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: isDark ? 'dark' : 'light' }] });
  }

  async open(url: string): Promise<void> {
    await this.send('Page.navigate', { url });
    await waitFor(
      `${url} to show something`,
      60_000,
      async () => (await this.evaluate<number>('document.querySelectorAll("section").length')) > 0,
    );
  }

  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.send<{
      result: { value: T };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    }>('Runtime.evaluate', {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  async key(key: string, code: number): Promise<void> {
    for (const type of ['keyDown', 'keyUp'])
      await this.send('Input.dispatchKeyEvent', {
        type,
        key,
        code: key,
        windowsVirtualKeyCode: code,
        ...(type === 'keyDown' && key === 'Enter' ? { text: '\r' } : {}),
      });
  }

  /** The whole page as PNG. */
  async screenshot(): Promise<Buffer> {
    const { data } = await this.send<{ data: string }>('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
    return Buffer.from(data, 'base64');
  }

  /** What the console and the security policy complained of. */
  complaints(): string[] {
    return this.events
      .filter(({ method }) => method === 'Log.entryAdded' || method === 'Runtime.exceptionThrown')
      .map(({ params }) => JSON.stringify(params))
      .filter((text) => !text.includes('favicon'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.terminate();
    await this.#process.kill9();
    rmSync(this.#dir, { recursive: true, force: true, maxRetries: 5 });
  }
}
