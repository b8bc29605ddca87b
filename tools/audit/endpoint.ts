/** An IMAP server with a login. */
export interface AuditEndpoint {
  host: string;
  port: number;
  /** TLS from the first byte (imaps). Otherwise STARTTLS is used when the server offers it. */
  secure: boolean;
  user: string;
  password: string;
}

export interface Login {
  user: string;
  password: string;
}

/**
 * Reads `imap://user:password@host:port` or `imaps://...`; user and password are percent-encoded as in any URL.
 *
 * @throws with what is wrong.
 */
export function parseEndpoint(text: string): AuditEndpoint {
  // The text holds a password, so no message repeats it.
  if (!URL.canParse(text)) throw new Error('not a URL; expected imap://user:password@host:port');
  const url = new URL(text);
  if (url.protocol !== 'imap:' && url.protocol !== 'imaps:') throw new Error('expected imap:// or imaps://');
  if (url.hostname === '') throw new Error('names no host');
  if ((url.pathname !== '' && url.pathname !== '/') || url.search !== '' || url.hash !== '')
    throw new Error('has something after host and port');
  const secure = url.protocol === 'imaps:';
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? (secure ? 993 : 143) : Number(url.port),
    secure,
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
  };
}

/**
 * Reads a list of users: one a line, `user` or `user:password`; `#` starts a comment line. Without a password the one of
 * the URL is used.
 */
export function parseUsers(text: string): { user: string; password: string | null }[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const colon = line.indexOf(':');
      return colon < 0 ? { user: line, password: null } : { user: line.slice(0, colon), password: line.slice(colon + 1) };
    });
}
