import type { Readable, Writable } from 'node:stream';

const answerBytesMax = 64 * 1024 * 1024;

/**
 * Asks a logged-in connection for all subscriptions (LSUB, RFC 3501 6.3.9), raw as the server names them, sorted.
 *
 * imapflow leaves out subscriptions to mailboxes that are gone, but they are part of what must survive.
 *
 * @throws when the server refuses or the connection ends.
 */
export async function readSubscriptions(input: Readable, output: Writable): Promise<string[]> {
  let answer = '';
  const tag = 'AUDIT1';
  const finished = new RegExp(`(?:^|\\r\\n)${tag} (OK|NO|BAD)([^\\r\\n]*)\\r\\n$`);
  return await new Promise<string[]>((resolve, reject) => {
    input.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1');
      if (answer.length > answerBytesMax) return reject(new Error('the list of subscriptions has no end'));
      const end = finished.exec(answer);
      if (end === null) return;
      if (end[1] !== 'OK') return reject(new Error(`the server refused LSUB: ${end[1] ?? ''}${end[2] ?? ''}`));
      resolve(parseLsub(answer));
    });
    input.on('error', reject);
    input.on('close', () => reject(new Error('the connection ended during LSUB')));
    input.resume();
    output.write(`${tag} LSUB "" "*"\r\n`);
  });
}

/** The names in LSUB answers: atoms, quoted strings or literals. */
export function parseLsub(answer: string): string[] {
  const names: string[] = [];
  const line = /(?:^|\r\n)\* LSUB \([^)]*\) (?:NIL|"(?:\\.|[^"\\])*") (?:"((?:\\.|[^"\\])*)"|\{(\d+)\}\r\n|([^\r\n]+))/gi;
  for (let match = line.exec(answer); match !== null; match = line.exec(answer)) {
    const [, quoted, literal, atom] = match;
    if (literal !== undefined) {
      names.push(answer.slice(line.lastIndex, line.lastIndex + Number(literal)));
      line.lastIndex += Number(literal);
    } else {
      names.push(quoted === undefined ? (atom ?? '') : quoted.replace(/\\(.)/g, '$1'));
    }
  }
  return names.sort();
}
