import type { BytePath } from '../platform/files.ts';

/** linux/fanotify.h */
export const FAN = {
  CLOEXEC: 0x1,
  NONBLOCK: 0x2,
  REPORT_DIR_FID: 0x400,
  REPORT_NAME: 0x800,
  MARK_ADD: 0x1,
  MARK_FILESYSTEM: 0x100,
  MODIFY: 0x2,
  ATTRIB: 0x4,
  CLOSE_WRITE: 0x8,
  CREATE: 0x100,
  DELETE: 0x200,
  Q_OVERFLOW: 0x4000,
  RENAME: 0x1000_0000,
  ONDIR: 0x4000_0000,
} as const;

const INFO_DFID_NAME = 2;
const INFO_OLD_DFID_NAME = 10;
const INFO_NEW_DFID_NAME = 12;
const METADATA_BYTES = 24;
const METADATA_VERSION = 3;

/** A name inside a directory that is known by its file handle. */
export interface HandleName {
  /** File system (8 bytes) and struct file_handle as the kernel gave them, latin1. */
  dir: string;
  /** `.` is the directory itself. */
  name: BytePath;
}

/** One event; `to` is the new name of a rename. */
export interface FanotifyEvent {
  mask: number;
  pid: number;
  at: HandleName | null;
  to: HandleName | null;
}

/**
 * Parses what one read(2) of a fanotify descriptor with FAN_REPORT_DFID_NAME gave: struct fanotify_event_metadata,
 * each followed by struct fanotify_event_info_fid records (fanotify(7)).
 *
 * @throws Error when the kernel speaks another version.
 */
export function parseFanotifyEvents(buffer: Buffer, length: number): FanotifyEvent[] {
  const events: FanotifyEvent[] = [];
  let at = 0;
  while (at + METADATA_BYTES <= length) {
    const eventLength = buffer.readUInt32LE(at);
    if (buffer[at + 4] !== METADATA_VERSION || eventLength < METADATA_BYTES || at + eventLength > length)
      throw new Error('fanotify event of an unknown form');
    const event: FanotifyEvent = { mask: buffer.readUInt32LE(at + 8), pid: buffer.readInt32LE(at + 20), at: null, to: null };
    let info = at + buffer.readUInt16LE(at + 6);
    const end = at + eventLength;
    while (info + 4 <= end) {
      const infoLength = buffer.readUInt16LE(info + 2);
      if (infoLength < 4) break;
      const type = buffer[info];
      if (type === INFO_DFID_NAME || type === INFO_OLD_DFID_NAME) event.at = parseHandleName(buffer, info, info + infoLength);
      else if (type === INFO_NEW_DFID_NAME) event.to = parseHandleName(buffer, info, info + infoLength);
      info += infoLength;
    }
    events.push(event);
    at = end;
  }
  return events;
}

/** Header 4, file system id 8, handle size 4, handle type 4, handle, name, NUL, padding. */
function parseHandleName(buffer: Buffer, start: number, end: number): HandleName {
  const nameAt = start + 20 + buffer.readUInt32LE(start + 12);
  const nul = buffer.indexOf(0, nameAt);
  return {
    dir: buffer.toString('latin1', start + 4, nameAt),
    name: buffer.toString('latin1', nameAt, nul < 0 || nul > end ? end : nul),
  };
}
