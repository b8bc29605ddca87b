import { createHash } from 'node:crypto';

/** Keys whose values are secrets, whatever holds them. A file that holds one is only named. */
const secretKey = /(pass(word|phrase|wd)?|secret|token|community|private|privkey|apikey|credential)s?$/i;
/** Keys whose values name mail of users. */
const nameKey = /^(path|mailbox|mailboxes|file|example|user)$/i;
/** Commands of the operator's: their arguments may hold anything. */
const commandKey = /^(off|status|start|stop|configCheck|(before|after)-[a-z]+)$/;
const mailPath = /[^\s"'`,:;]*\/(?:cur|new|tmp)\/[^\s"'`,;]*/g;
const address = /[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}/g;

/** Takes secrets, and unless `withNames` what names users and their mail, out of facts. */
export function redact(value: unknown, options: { withNames: boolean; salt: string }, key = ''): unknown {
  if (typeof value === 'string') {
    if (secretKey.test(key) && !value.startsWith('/')) return '[removed]';
    // A token likes to sit in the path or the query of an address.
    if (/^https?:\/\//i.test(value))
      return `${/^https?:\/\/(?:[^@/]*@)?([^/?#]*)/i.exec(value)?.[0].replace(/\/\/[^@/]*@/, '//') ?? ''}/[removed]`;
    if (options.withNames) return value;
    return nameKey.test(key) && !value.startsWith('/') ? hashed(value, options.salt) : redactText(value, options.salt);
  }
  if (typeof value === 'number' && secretKey.test(key)) return '[removed]';
  if (Array.isArray(value) && commandKey.test(key) && value.every((item) => typeof item === 'string'))
    return value.map((item, i) => (i === 0 ? item : '[argument]'));
  if (Array.isArray(value)) return value.map((item) => redact(item, options, key));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, redact(item, options, name)]));
}

/** The same for lines of JSON; a line that is none is treated as text. */
export function redactLines(text: string, options: { withNames: boolean; salt: string }): string {
  return text
    .split('\n')
    .map((line) => {
      try {
        return JSON.stringify(redact(JSON.parse(line), options));
      } catch {
        return options.withNames ? line : redactText(line, options.salt);
      }
    })
    .join('\n');
}

function redactText(text: string, salt: string): string {
  return text.replaceAll(mailPath, (match) => hashed(match, salt)).replaceAll(address, (match) => hashed(match, salt));
}

/** Equal names stay equal within one bundle, and say nothing outside of it. */
function hashed(text: string, salt: string): string {
  return text === '' ? '' : `#${createHash('sha256').update(`${salt}\0${text}`).digest('hex').slice(0, 12)}`;
}
