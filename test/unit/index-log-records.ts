/** The record that sets the next UID in the header of an index, as a server writes it (MAIL_TRANSACTION_HEADER_UPDATE). */
export function nextUidRecord(nextUid: number): Buffer {
  const out = Buffer.from('8080808420000010' + '1c000400' + '00000000', 'hex');
  out.writeUInt32LE(nextUid, 12);
  return out;
}
