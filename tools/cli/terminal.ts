import { createInterface } from 'node:readline';
import { fold } from './fold.ts';
import { paintFor, type Paint } from './paint.ts';

/** Where a command speaks to its user; handed in. */
export interface Terminal {
  /** Facts: standard output, a line end is added; on a terminal long lines are folded. */
  print(text: string): void;
  /** Errors and progress: standard error, as `print`. */
  complain(text: string): void;
  /** Standard output as it is, for redrawing. */
  write(text: string): void;
  isTTY: boolean;
  columns(): number;
  paint: Paint;
  /** Asks the person; null when there is nobody to ask. */
  ask(question: string): Promise<string | null>;
  /** What is told in one line: asked for on a terminal, else the first line of standard input; null when there is none. */
  tell(question: string): Promise<string | null>;
  /** Fires when the person wants to stop (Ctrl-C, SIGTERM). From the first call on these no longer end the process at once. */
  interrupted(): AbortSignal;
}

/** More of a line is not read. */
const lineBytesMax = 4096;

/** The terminal of this process. */
export function processTerminal(): Terminal {
  const isTTY = process.stdout.isTTY === true;
  let interrupt: AbortController | undefined;
  // A terminal that nobody told its size says 0.
  const columns = () => process.stdout.columns || 80;
  const lines = (text: string, stream: NodeJS.WriteStream) => `${stream.isTTY ? fold(text, columns()) : text}\n`;
  const terminal: Terminal = {
    print: (text) => void process.stdout.write(lines(text, process.stdout)),
    complain: (text) => void process.stderr.write(lines(text, process.stderr)),
    write: (text) => void process.stdout.write(text),
    isTTY,
    columns,
    paint: paintFor(isTTY, process.env),
    async ask(question) {
      if (!process.stdin.isTTY) return null;
      const reader = createInterface({ input: process.stdin, output: process.stdout });
      try {
        return await new Promise<string | null>((resolve) => {
          reader.on('close', () => resolve(null));
          reader.on('SIGINT', () => reader.close());
          reader.question(question, resolve);
        });
      } finally {
        reader.close();
      }
    },
    tell: (question) => (process.stdin.isTTY ? terminal.ask(question) : firstLine(process.stdin)),
    interrupted() {
      if (!interrupt) {
        const controller = (interrupt = new AbortController());
        for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => controller.abort());
      }
      return interrupt.signal;
    },
  };
  return terminal;
}

/** The first line of a stream, without its end; null when there is nothing, or no end within the bound. */
export async function firstLine(stream: AsyncIterable<Buffer | string>): Promise<string | null> {
  let text = '';
  for await (const part of stream) {
    text += part.toString();
    if (text.includes('\n') || text.length > lineBytesMax) break;
  }
  const [line = ''] = text.split(/\r?\n/, 1);
  return line.trim() === '' || line.length > lineBytesMax ? null : line;
}
