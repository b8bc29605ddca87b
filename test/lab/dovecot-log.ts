/**
 * What Dovecot logs when a store is not what it left: every such line in a test on a replica is a failure.
 *
 * The list follows the messages of Dovecot 2.3's lib-index and maildir code.
 */
const alarms: readonly RegExp[] = [
  /\b(Panic|Fatal):/,
  /corrupt/i,
  /\bfsck/i,
  /rebuild/i,
  /reappeared/i,
  /duplicate/i,
  /\bFixed\b/,
  /lowered/i,
  /unexpected/i,
  /uidvalidity/i,
  /next_uid|uid_next/i,
  /unknown-\d/,
  /\bbroken\b/i,
  /\binvalid\b/i,
  /\bwrong\b/i,
  /inconsistent/i,
  /expunged message/i,
  /\blost\b/i,
  /(Recent|size|Cached|S=\d+|W=\d+).*(doesn't match|don't match|!=|is smaller|is larger)/,
  /timed? ?out/i,
  /Maildir:.*(UID|uidlist)/,
  /stale/i,
  /modseq/i,
];

/** What Dovecot tells a client whose open mailbox another client has renamed or deleted: no fault of the store. */
const harmless = /IMAP session state is inconsistent, please relogin/;

/** What is random in a line, and may spell anything. */
const sessionId = /session=<[^>]*>/g;

/** Which of the lines tell of a damaged or surprising store. */
export function alarmingLines(log: string): string[] {
  return log.split('\n').filter((line) => {
    const said = line.replaceAll(sessionId, '');
    return !harmless.test(said) && alarms.some((alarm) => alarm.test(said));
  });
}

/** Lines of level Error and above, alarming or not. */
export function errorLines(log: string): string[] {
  return log.split('\n').filter((line) => /\b(Error|Fatal|Panic):/.test(line));
}
