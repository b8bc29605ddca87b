import { Packr } from 'msgpackr';
import { limits } from './limits.ts';
import { messageSpecs, type Message, type MessageType } from './messages.ts';
import { packOp, ProtocolError, unpackOp, type Op } from './ops.ts';
import { notPlain } from './plain-msgpack.ts';

// Plain msgpack: no record extension, so that PROTOCOL.md is all a reader of the wire needs.
const packr = new Packr({ useRecords: false, variableMapSize: true, moreTypes: false });
/** Frames are made here and then copied: without it the packer would grow a buffer of its own again and again. */
const scratch = Buffer.allocUnsafeSlow(limits.frameBytesMax + 64 * 1024);
const typeByNumber = new Map(Object.entries(messageSpecs).map(([type, spec]) => [spec.number, type as MessageType]));

/**
 * Encodes one message as one frame.
 *
 * @throws ProtocolError when the message is not as messages.ts says, or is larger than `frameBytesMax`: then the fault is ours.
 */
export function encode(message: Message): Buffer {
  const spec = messageSpecs[message.type];
  const fields = message as unknown as Record<string, unknown>;
  const values = spec.fieldNames.map((name) => (message.type === 'ops' && name === 'ops' ? message.ops.map(packOp) : fields[name]));
  if (message.type !== 'ops') check(message.type, Object.fromEntries(spec.fieldNames.map((name) => [name, fields[name]])));
  packr.useBuffer(scratch);
  const frame = packr.pack([spec.number, ...values]);
  if (frame.length > limits.frameBytesMax)
    throw new ProtocolError(`${message.type} message of ${frame.length} bytes is larger than a frame may be (${limits.frameBytesMax})`);
  // pack returns a view on the scratch buffer.
  return Buffer.from(frame);
}

/**
 * Decodes and checks one frame. `dirsSoFar` gives the size of a batch's directory table before this message.
 *
 * @throws ProtocolError that says what is wrong with it.
 */
export function decode(frame: Buffer, dirsSoFar: (batch: number) => number): Message {
  if (frame.length > limits.frameBytesMax) throw new ProtocolError(`frame of ${frame.length} bytes is larger than ${limits.frameBytesMax}`);
  const value = unpackPlain(frame);
  if (!Array.isArray(value) || value.length === 0) throw new ProtocolError('frame is not a message');
  const number: unknown = value[0];
  const type = typeof number === 'number' ? typeByNumber.get(number) : undefined;
  if (type === undefined) throw new ProtocolError(`unknown message number${typeof number === 'number' ? ` ${number}` : ': it is none'}`);
  const { fieldNames } = messageSpecs[type];
  if (value.length !== fieldNames.length + 1)
    throw new ProtocolError(`${type} message has ${value.length - 1} fields, not ${fieldNames.length}`);
  const fields: Record<string, unknown> = {};
  fieldNames.forEach((name, i) => (fields[name] = (value as unknown[])[i + 1]));
  check(type, fields);
  const message = { type, ...fields } as Message;
  if (message.type === 'ops') {
    const dirs = dirsSoFar(message.id) + message.dirs.length;
    if (message.ops.length > limits.batchOpsMax * 2) throw new ProtocolError(`${message.ops.length} ops in one message`);
    message.ops = (message.ops as unknown[]).map((op): Op => unpackOp(op, dirs));
  }
  return message;
}

/**
 * The value of a frame, before anything is known of it.
 *
 * @throws ProtocolError when it is no plain MessagePack.
 */
export function unpackPlain(frame: Buffer): unknown {
  const wrong = notPlain(frame);
  if (wrong !== null) throw new ProtocolError(`frame is not a message: ${wrong}`);
  try {
    return packr.unpack(frame);
  } catch (error) {
    throw new ProtocolError(`frame is not msgpack: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function check(type: MessageType, fields: Record<string, unknown>): void {
  const result = messageSpecs[type].schema.safeParse(fields);
  if (result.success) return;
  const issue = result.error.issues[0];
  // It names keys that it does not know, which may be of any length and number.
  const why = issue ? `${issue.path.join('.')}: ${issue.message}`.slice(0, 300) : 'not valid';
  throw new ProtocolError(`${type} message: ${why}`);
}
