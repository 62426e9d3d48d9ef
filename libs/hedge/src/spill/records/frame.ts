import { crc32 } from 'node:zlib';
import { HedgeError } from '../../common/errors.js';

/**
 * A frame is the unit in which spilled data is placed: records of one writer in the layout of an Arrow `Binary` column,
 * in one buffer. Its bytes are the same in RAM, in a file and on the wire.
 *
 * All numbers are little-endian. Record i is at data[offsets[i], offsets[i + 1]).
 *
 * | bytes | |
 * |---|---|
 * | 0–3 | magic and version, `HSF1` |
 * | 4 | flags: 1 the first record began in an earlier frame, 2 the last record continues in the next |
 * | 5 | codec of the body: 0 none, 1 lz4 |
 * | 8–23 | store |
 * | 24–31 | epoch |
 * | 32–35, 36–39 | writer, sequence |
 * | 40–47 | number of the first record |
 * | 48–51, 52–55 | records, bytes of data |
 * | 56–59 | bytes of the body as stored |
 * | 60–63 | CRC-32 (zlib's) of bytes 0–59 and the body; 0 until the frame leaves the process's memory |
 * | 64– | the body: data, padded to 8 bytes, then records + 1 offsets of 4 bytes |
 *
 * @see https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-layout
 */
export const FRAME_HEADER_BYTES = 64;

/** The largest frame of any version. Each member must be able to receive one. */
export const MAX_FRAME_BYTES = 1024 * 1024;

/** How the body is stored. */
export type FrameCodec = 'none' | 'lz4';

/** The content of a frame's header. */
export interface FrameHeader {
  /** See `storeIdOf`. */
  readonly store: string;
  /** Number of the store at its owner. */
  readonly epoch: number;
  readonly writer: number;
  /** From 0, in the order in which the frames of the store were sealed, which is the order of reading. */
  readonly sequence: number;
  /** Number of the first record, from 0 for the store; of the continued record when `continues`. */
  readonly firstRecord: number;
  /** The number of records in the frame, with parts of records. */
  readonly records: number;
  readonly dataBytes: number;
  /** The first record began in an earlier frame. */
  readonly continues: boolean;
  /** The last record continues in the next frame. */
  readonly continued: boolean;
  readonly codec: FrameCodec;
}

/** The fields that name a frame. `FrameBuilder` adds the others. */
export type FrameIdentity = Pick<FrameHeader, 'store' | 'epoch' | 'writer' | 'sequence' | 'firstRecord'>;

/** A sealed frame. `bytes` are header and body, of which only the checksum changes. */
export interface SpillFrame {
  readonly header: FrameHeader;
  readonly bytes: Buffer;
}

/** The store id of all stores of one owner in frames and files: its incarnation, a UUID, as 32 hexadecimal digits. */
export function storeIdOf(incarnation: string): string {
  return incarnation.replaceAll('-', '');
}

const MAGIC = 0x31465348;
const CONTINUES = 1;
const CONTINUED = 2;
const CODECS: readonly FrameCodec[] = ['none', 'lz4'];
const CRC_AT = 60;

/** The record numbers [from, to) of a frame, with records that are only partly in it. */
export function recordRange(header: FrameHeader): { from: number; to: number } {
  return { from: header.firstRecord, to: header.firstRecord + header.records };
}

/** Number of the first record of the frame after this one. */
export function nextRecord(header: FrameHeader): number {
  return header.firstRecord + header.records - (header.continued ? 1 : 0);
}

/** Bytes of an uncompressed frame with that content. */
export function frameSize(records: number, dataBytes: number): number {
  return offsetsAt(dataBytes) + (records + 1) * Int32Array.BYTES_PER_ELEMENT;
}

/** The position of the offsets in an uncompressed frame. */
export function offsetsAt(dataBytes: number): number {
  return FRAME_HEADER_BYTES + Math.ceil(dataBytes / 8) * 8;
}

/** Writes the header over the first bytes of a frame of that size, without a checksum. */
export function writeHeader(bytes: Buffer, header: FrameHeader): void {
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(
    (header.continues ? CONTINUES : 0) | (header.continued ? CONTINUED : 0) | (CODECS.indexOf(header.codec) << 8),
    4,
  );
  bytes.write(header.store, 8, 16, 'hex');
  bytes.writeBigUInt64LE(BigInt(header.epoch), 24);
  bytes.writeUInt32LE(header.writer, 32);
  bytes.writeUInt32LE(header.sequence, 36);
  bytes.writeBigUInt64LE(BigInt(header.firstRecord), 40);
  bytes.writeUInt32LE(header.records, 48);
  bytes.writeUInt32LE(header.dataBytes, 52);
  bytes.writeUInt32LE(bytes.length - FRAME_HEADER_BYTES, 56);
  bytes.writeUInt32LE(0, CRC_AT);
}

/** To be called before a frame leaves the memory of this process. Idempotent. */
export function stampChecksum(frame: SpillFrame): void {
  if (frame.bytes.readUInt32LE(CRC_AT) === 0) frame.bytes.writeUInt32LE(checksum(frame.bytes), CRC_AT);
}

/**
 * Reads a frame that came from a file or from another member, without copying it.
 * @throws HedgeError SPILL_CORRUPT when a bit differs from the stamped frame
 */
export function readFrame(bytes: Buffer): SpillFrame {
  if (bytes.length < FRAME_HEADER_BYTES) throw corruptFrame(`it has only ${bytes.length} bytes`);
  if (bytes.readUInt32LE(0) !== MAGIC) throw corruptFrame('it does not begin with the magic bytes HSF1');
  const bodyBytes = bytes.readUInt32LE(56);
  if (bodyBytes !== bytes.length - FRAME_HEADER_BYTES) {
    throw corruptFrame(`its body has ${bytes.length - FRAME_HEADER_BYTES} bytes, but its header says ${bodyBytes}`);
  }
  if (checksum(bytes) !== bytes.readUInt32LE(CRC_AT)) throw corruptFrame('its checksum is wrong');
  const [records, dataBytes] = [bytes.readUInt32LE(48), bytes.readUInt32LE(52)];
  const flags = bytes.readUInt32LE(4);
  const codec = CODECS[(flags >> 8) & 0xff];
  if (codec === undefined) throw corruptFrame(`its codec ${(flags >> 8) & 0xff} is unknown to this version`);
  const size = frameSize(records, dataBytes);
  if (size > MAX_FRAME_BYTES || (codec === 'none' && size !== bytes.length)) {
    throw corruptFrame(
      `its header says ${records} records of ${dataBytes} bytes in total, which do not match its size`,
    );
  }
  return {
    bytes,
    header: {
      store: bytes.toString('hex', 8, 24),
      epoch: Number(bytes.readBigUInt64LE(24)),
      writer: bytes.readUInt32LE(32),
      sequence: bytes.readUInt32LE(36),
      firstRecord: Number(bytes.readBigUInt64LE(40)),
      records,
      dataBytes,
      continues: (flags & CONTINUES) !== 0,
      continued: (flags & CONTINUED) !== 0,
      codec,
    },
  };
}

function checksum(bytes: Buffer): number {
  // 0 means not stamped yet, so a checksum that is 0 by chance becomes 1.
  return crc32(bytes.subarray(FRAME_HEADER_BYTES), crc32(bytes.subarray(0, CRC_AT))) || 1;
}

function corruptFrame(problem: string): HedgeError {
  return new HedgeError(
    'SPILL_CORRUPT',
    `A frame of spilled data cannot be read: ${problem}. Write the data again; if the frame was on a disk, check the disk.`,
  );
}
