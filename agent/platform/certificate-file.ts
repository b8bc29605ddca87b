import { createPrivateKey, X509Certificate } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { errnoCode } from './files.ts';

/** A PEM certificate and its key, as far as they can be read. */
export interface CertificateFile {
  /** Wall clock at which it ends, milliseconds; null when it cannot be read. */
  endsMs: number | null;
  /** Host names that it is for, sorted: the alternative names, else the common name. */
  names: string[];
  /** Whether the key belongs to it; null when that cannot be told, as without a key or with one that has a password. */
  fits: boolean | null;
  /** Why one of the two cannot be used; null when nothing is wrong. */
  problem: string | null;
}

const bytesMax = 1024 * 1024;

/** Reads a certificate, the first one of its file, and its key. Never throws; nothing of the key is in the result. */
export function readCertificate(certFile: string, keyFile: string | null): CertificateFile {
  let cert: X509Certificate;
  try {
    cert = new X509Certificate(readSmall(certFile));
  } catch (error) {
    return { endsMs: null, names: [], fits: null, problem: `${certFile} ${reasonOf(error, 'holds no certificate')}` };
  }
  const known = { endsMs: Date.parse(cert.validTo), names: namesOf(cert) };
  if (keyFile === null) return { ...known, fits: null, problem: null };
  try {
    const key = readSmall(keyFile);
    // Its password is the mail server's; whether it fits is seen when that one starts.
    if (/^(-----BEGIN ENCRYPTED |Proc-Type: 4,ENCRYPTED)/m.test(key.toString('latin1'))) return { ...known, fits: null, problem: null };
    const fits = cert.checkPrivateKey(createPrivateKey(key));
    return { ...known, fits, problem: fits ? null : `the key in ${keyFile} belongs to another certificate than ${certFile}` };
  } catch (error) {
    return { ...known, fits: null, problem: `the key ${keyFile} ${reasonOf(error, 'is no key')}` };
  }
}

/** Follows links, as the servers do: what renews certificates leaves links to them. */
function readSmall(path: string): Buffer {
  const fd = openSync(path, 'r');
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > bytesMax) throw new TypeError('no file of a certificate');
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

function reasonOf(error: unknown, otherwise: string): string {
  const code = errnoCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR'
    ? 'is missing'
    : code !== undefined && /^E[A-Z]+$/.test(code)
      ? `cannot be read (${code})`
      : otherwise;
}

function namesOf({ subjectAltName, subject }: X509Certificate): string[] {
  const alternative = [...(subjectAltName ?? '').matchAll(/(?:^|, )(?:DNS|IP Address):([^,"]+)/g)].map(([, name = '']) => name);
  const common = /(?:^|\n)CN=([^\n]+)/.exec(subject)?.[1];
  return [...new Set(alternative.length > 0 ? alternative : common === undefined ? [] : [common])].toSorted();
}
