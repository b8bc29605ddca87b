import { errnoCode, type BytePath, type Files } from '../platform/files.ts';
import type { MailboxDir } from './mailbox-walk.ts';
import type { StagedFiles } from './staged-files.ts';

/**
 * Dovecot's counter for the UIDVALIDITY of new folders (mailbox-uidvalidity.c): 8 hexadecimal digits in
 * `dovecot-uidvalidity`, and an empty file with the same digits at the end of its name. Behind the lost primary's, it
 * would give a folder that is made again the UIDVALIDITY that clients have seen with other messages (I5).
 */
const name = 'dovecot-uidvalidity';
const counterBytesMax = 64;

/** Raises it by `by` once the mailboxes' files are in place. Nothing when this directory has none. */
export function raiseValidityCounter(stage: StagedFiles, { dir, names }: MailboxDir, by: number): void {
  const values = [...names].flatMap((each) => /^dovecot-uidvalidity\.([0-9a-f]{8})$/.exec(each)?.[1] ?? []).map((hex) => parseInt(hex, 16));
  const counter = names.has(name) ? readCounter(stage, `${dir}/${name}`) : null;
  const text = counter?.data.toString('latin1') ?? '';
  if (/^[0-9a-f]{8}/.test(text)) values.push(parseInt(text.slice(0, 8), 16));
  const highest = values.reduce((most, each) => Math.max(most, each), 0);
  if (highest === 0 || highest + by > 0xffffffff) return;
  const hex = (value: number) => value.toString(16).padStart(8, '0');
  const old = [...names]
    .filter((each) => each.startsWith(`${name}.`))
    .sort()
    .at(-1);
  if (counter) stage.add(`${dir}/${name}`, Buffer.from(hex(highest + by), 'latin1'), counter);
  // By names alone the server finds the highest again when the two do not agree.
  if (old !== undefined) stage.afterRenames(() => stage.files.rename(`${dir}/${old}`, `${dir}/${name}.${hex(highest + by)}`));
}

/** Null when it cannot be read or is no counter: then the names alone tell. @throws what is no error of the system. */
function readCounter({ files }: StagedFiles, path: BytePath): ReturnType<Files['readFile']> {
  try {
    return files.readFile(path, counterBytesMax);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}
