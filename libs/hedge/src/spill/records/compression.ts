import { HedgeError } from '../../common/errors.js';
import { loadProblem } from '../../common/optional-package.js';
import { FRAME_HEADER_BYTES, frameSize, writeHeader, type FrameCodec, type SpillFrame } from './frame.js';

/** LZ4 blocks of lz4-napi begin with the uncompressed length. */
const LENGTH_BYTES = 4;

/** Compresses and decompresses frames, off the event loop. */
export interface FrameCompression {
  /** Returns the same frame when compression would not make it smaller. */
  compress(frame: SpillFrame): Promise<SpillFrame>;
  /** @throws HedgeError SPILL_CORRUPT */
  decompress(frame: SpillFrame): Promise<SpillFrame>;
}

/**
 * LZ4 by the package `lz4-napi`, an optional dependency.
 * @throws HedgeError INVALID_OPTIONS when it is not installed or cannot be loaded
 */
export async function lz4(): Promise<FrameCompression> {
  const { compress, uncompress } = await loadLz4();
  return {
    async compress(frame) {
      const body = await compress(frame.bytes.subarray(FRAME_HEADER_BYTES));
      return body.length + FRAME_HEADER_BYTES >= frame.bytes.length ? frame : withBody(frame, body, 'lz4');
    },
    async decompress(frame) {
      return frame.header.codec === 'none' ? frame : withBody(frame, await uncompressed(frame, uncompress), 'none');
    },
  };
}

function withBody(frame: SpillFrame, body: Buffer, codec: FrameCodec): SpillFrame {
  const bytes = Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES + body.length);
  bytes.set(body, FRAME_HEADER_BYTES);
  const header = { ...frame.header, codec };
  writeHeader(bytes, header);
  return { header, bytes };
}

type Transform = (data: Buffer) => Promise<Buffer>;

async function loadLz4(): Promise<{ compress: Transform; uncompress: Transform }> {
  try {
    const { default: lz4 } = await import('lz4-napi');
    return lz4;
  } catch (cause) {
    const problem = loadProblem('lz4-napi', cause);
    const message = `Spilled data cannot use compression "lz4". ${problem} Or use compression "none".`;
    throw new HedgeError('INVALID_OPTIONS', message, { cause });
  }
}

async function uncompressed(frame: SpillFrame, uncompress: Transform): Promise<Buffer> {
  const length = frameSize(frame.header.records, frame.header.dataBytes) - FRAME_HEADER_BYTES;
  const body = frame.bytes.subarray(FRAME_HEADER_BYTES);
  const problem = `Frame ${frame.header.sequence} of spilled data cannot be decompressed, because its bytes are corrupt. Write the data again.`;
  // Checked first, because `uncompress` allocates as much memory as the length says.
  if (body.length < LENGTH_BYTES || body.readUInt32LE(0) !== length) throw new HedgeError('SPILL_CORRUPT', problem);
  try {
    const plain = await uncompress(body);
    if (plain.length !== length) throw new Error(`it has ${plain.length} bytes instead of ${length}`);
    return plain;
  } catch (cause) {
    throw new HedgeError('SPILL_CORRUPT', problem, { cause });
  }
}
