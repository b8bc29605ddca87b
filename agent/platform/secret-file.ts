import { OperatorError } from './errors.ts';
import { displayPath, type Files } from './files.ts';

const secretBytesMax = 4096;

/**
 * Who but its owner can reach a file that holds a secret: the one rule for every such file. The group of root may, because
 * root can read everything anyway.
 */
export function openTo({ mode, gid }: { mode: number; gid: number }): string | null {
  if ((mode & 0o007) !== 0) return 'every user';
  return (mode & 0o070) !== 0 && gid !== 0 ? `group ${gid}` : null;
}

/**
 * Reads a secret from its file: one line, without its line end.
 *
 * @throws OperatorError `secret-file` when it is missing, open to other users or to a group but root's, empty or more than a line. Never tells what is in it.
 */
export function readSecret(files: Files, path: string, what: string): string {
  const bytes = Buffer.from(path, 'utf8').toString('latin1');
  const shown = displayPath(bytes);
  const fail = (message: string, remedy: string) => new OperatorError('secret-file', `${what}: ${message}`, remedy);
  let file: ReturnType<Files['readFile']>;
  try {
    file = files.readFile(bytes, secretBytesMax);
  } catch (error) {
    throw fail(
      `the file ${shown} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      `let the agent read ${shown}`,
    );
  }
  if (!file) throw fail(`there is no file ${shown}, or it is no regular file`, `write the secret to ${shown}, mode 0600`);
  const open = openTo(file.stat);
  if (open !== null) {
    const mode = (file.stat.mode & 0o777).toString(8).padStart(4, '0');
    throw fail(
      `the file ${shown} is open to ${open} (mode ${mode})`,
      `chmod 600 ${shown}, and change the secret if others could have read it`,
    );
  }
  const text = file.data.toString('utf8').replace(/\r?\n$/, '');
  if (text === '' || /[\r\n\0]/.test(text)) throw fail(`the file ${shown} does not hold one line`, `write the secret alone to ${shown}`);
  return text;
}
