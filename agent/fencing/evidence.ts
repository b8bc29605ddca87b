/** Text that is kept of what a program printed, in characters. */
const evidenceCharsMax = 1000;
/** A program that prints more than this, in bytes, is cut; what is cut may end inside a secret, so its last line goes. */
export const outputBytesMax = 64 * 1024;

/** What programs print, made fit to be kept: on one line, bounded, without the secrets that they were given. */
export function evidenceOf(output: { stdout: string; stderr: string; truncated: boolean }, secrets: readonly string[]): string {
  const whole = (text: string) => (output.truncated ? text.slice(0, Math.max(0, text.lastIndexOf('\n'))) : text);
  // Masked before it is cut or joined: a half secret would not be known again.
  const text = masked([whole(output.stdout), whole(output.stderr)].join('\n'), secrets)
    .split(/[\r\n]+/)
    .map((line) => line.replace(/[\p{C}]/gu, ' ').trim())
    .filter((line) => line !== '')
    .join(' | ');
  return text.length > evidenceCharsMax ? `${text.slice(0, evidenceCharsMax / 2)} ... ${text.slice(-evidenceCharsMax / 2)}` : text;
}

/** Hides every secret, also as programs write them into URLs, JSON, shell lines and HTTP's basic authentication. */
export function masked(text: string, secrets: readonly string[]): string {
  const forms = secrets.filter((secret) => secret !== '').flatMap(writtenForms);
  // The longest first, so that none leaves a part of another standing.
  return [...new Set(forms)].sort((a, b) => b.length - a.length).reduce((rest, form) => rest.replaceAll(form, '***'), text);
}

function writtenForms(secret: string): string[] {
  const bytes = Buffer.from(secret, 'utf8');
  const inUrl = encodeURIComponent(secret).replace(/[!'()*~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  return [
    secret,
    encodeURIComponent(secret),
    inUrl,
    inUrl.replaceAll('%20', '+'),
    JSON.stringify(secret).slice(1, -1),
    secret.replaceAll("'", `'"'"'`),
    secret.replaceAll("'", String.raw`'\''`),
    secret.replaceAll('\\', '\\\\').replaceAll("'", String.raw`\'`),
    // Base64 wherever it begins in a longer text: without the first and last characters, which mix with its neighbours.
    ...[0, 1, 2].map((shift) =>
      Buffer.concat([Buffer.alloc(shift), bytes])
        .toString('base64')
        .replace(/=+$/, '')
        .slice(shift === 0 ? 0 : shift + 1, -1),
    ),
    bytes.toString('base64'),
    bytes.toString('hex'),
  ].filter((form) => form.length >= Math.min(4, secret.length));
}
