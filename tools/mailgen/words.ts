/** Vocabulary of the generated mail: no real person, company or reserved-for-use domain appears. */

export const words = (
  'the a of to and in is that for on with as was at by this from we it be are not or have an they which you can all will your has more if one our about out up ' +
  'meeting project invoice delivery order customer server backup report schedule budget contract quarter review attachment document draft version update ' +
  'agenda minutes deadline proposal estimate payment account number address office Monday Tuesday Wednesday Thursday Friday morning afternoon please find ' +
  'attached regards thanks tomorrow yesterday question answer problem solution network printer password system release test result change request approval ' +
  'travel hotel flight booking train ticket reservation confirmation shipping warehouse supplier quality sample product launch marketing campaign website ' +
  'grüße straße büro größe prüfung übergabe français café déjà reçu año mañana reunión'
).split(' ');

export const people = [
  'anna.berg',
  'tom.weaver',
  'lee.chan',
  'maria.silva',
  'jonas.holm',
  'petra.novak',
  'sam.okafor',
  'nina.roth',
  'ivan.petrov',
  'clara.dubois',
];

export const domains = ['example.com', 'example.net', 'example.org', 'mail.example', 'shop.example', 'lists.example', 'news.example'];

/**
 * Folder names as they stand on disk (components, modified UTF-7 of RFC 3501 5.1.3), parents before children.
 */
export const folderPaths: readonly (readonly string[])[] = [
  ['Sent'],
  ['Drafts'],
  ['Trash'],
  ['Junk'],
  ['Archive'],
  ['Archive', '2023'],
  ['Archive', '2024'],
  ['Clients'],
  ['Clients', 'Acme'],
  ['Clients', 'Acme', 'Invoices'],
  ['Clients', 'Globex'],
  ['Entw&APw-rfe'],
  ['Lists'],
  ['Lists', 'announce'],
  ['Notes'],
  ['Travel 2024'],
  ['Caf&AOk-'],
  ['Caf&AOk-', '&ZeVnLIqe-'],
  ['Projects'],
  ['Projects', 'Alpha'],
  ['Projects', 'Beta'],
  ['R&-D'],
  ['Receipts'],
  ['Personal'],
];

/** The path of the `n`th folder (from 0), however many are asked for. */
export function folderPath(n: number): readonly string[] {
  const base = folderPaths[n];
  if (base) return base;
  // Further folders hang below one parent, which the list above has.
  return ['Projects', `P${String(n).padStart(4, '0')}`];
}

/** IMAP keywords, in the order in which dovecot-keywords numbers them. */
export const keywords = ['$Forwarded', 'NonJunk', '$MDNSent', '$label1', '$label2', 'Junk', 'todo', '$Phishing'];
