import { HedgeError } from '../../common/errors.js';
import type { FrameBuffers, BufferLease } from '../node/storage.js';
import { batchesOf, type BinaryBatch, type BinaryVector, isVector } from '../records/binary-batch.js';
import type { FrameCompression } from '../records/compression.js';
import type { SpillFrame } from '../records/frame.js';
import {
  checkRecord,
  FrameBuilder,
  framesSpanned,
  isRecord,
  longestRecord,
  recordBytes,
  type SpillRecord,
} from '../records/frame-builder.js';
import type { FrameToken, FrameTokens } from './frame-tokens.js';
import { EventLoopYielder } from '../../common/async/event-loop-yielder.js';

const DONE = Promise.resolve();

/** The first sequence and the first record number of frames that are sealed together. */
export interface FrameNumbers {
  readonly sequence: number;
  readonly firstRecord: number;
}

export interface RecordWriterOptions {
  readonly store: string;
  /** The name of the spilled data, for errors. */
  readonly name: string;
  readonly epoch: number;
  /** Number of the writer in its store. */
  readonly writer: number;
  readonly buffers: FrameBuffers;
  readonly tokens: FrameTokens;
  readonly compression: FrameCompression | undefined;
  /** Allocates the next numbers of the store. */
  readonly number: (frames: number, records: number) => FrameNumbers;
  readonly place: (frame: SpillFrame, lease: BufferLease) => void;
  /** Aborts when writing ends, with the reason. */
  readonly signal: AbortSignal;
}

interface OpenFrame {
  readonly builder: FrameBuilder;
  /** Ends the lease of the buffer, and releases the token. */
  readonly lease: BufferLease;
}

/** Packs the records of one writer into frames, in their order. */
export class RecordWriter {
  readonly #options: RecordWriterOptions;
  readonly #scratch: Int32Array;
  readonly #yielder = new EventLoopYielder();
  #openFrame: OpenFrame | undefined;
  /** The last pending call; calls run one after the other. */
  #tail: Promise<void> | undefined;
  /** Seal the open frame when the pending calls have ended. */
  #flushRequested = false;
  #finished = false;
  readonly #compressing = new Set<Promise<void>>();

  constructor(options: RecordWriterOptions) {
    this.#options = options;
    this.#scratch = FrameBuilder.scratch(options.buffers.frameBytes);
  }

  /** See `SpilledData.write`. */
  write(record: SpillRecord): Promise<void> {
    if (this.#tail === undefined && this.#openFrame !== undefined && isRecord(record)) {
      if (this.#openFrame.builder.write(record)) return DONE;
    }
    return this.#enqueue(async () => this.#append(recordBytes(record)));
  }

  /** See `SpilledData.writeBatch`. */
  writeBatch(batch: BinaryVector | readonly SpillRecord[]): Promise<void> {
    return this.#enqueue(async () => {
      if (isVector(batch)) for (const one of batchesOf(batch)) await this.#appendBatch(one);
      else await this.#appendAll(checkedRecords(batch));
    });
  }

  /** Seals the open frame, because another writer or reader waits for a token; after the pending calls, if there are. */
  flush(): void {
    if (this.#tail === undefined) this.#seal();
    else this.#flushRequested = true;
  }

  /** Refuses further records. Resolves when all frames are handed over to placement. Idempotent. */
  async finish(): Promise<void> {
    this.#finished = true;
    await this.#tail?.catch(() => undefined);
    this.#seal();
    await Promise.all(this.#compressing);
  }

  /** Frees the open frame: writing has ended. */
  discard(): void {
    this.#removeOpenFrame()?.lease.release();
  }

  #enqueue(call: () => Promise<void>): Promise<void> {
    if (this.#finished) return Promise.reject(closedError(this.#options.name));
    const run = this.#tail === undefined ? call() : this.#tail.then(call, call);
    const tail = run.finally(() => {
      if (this.#tail !== tail) return;
      this.#tail = undefined;
      if (this.#flushRequested) this.#seal();
    });
    // The caller of `run` handles its failure.
    tail.catch(() => undefined);
    this.#tail = tail;
    return run;
  }

  async #append(record: Uint8Array): Promise<void> {
    if (record.length > longestRecord(this.#options.buffers.frameBytes)) return this.#appendSpanning(record);
    while (!(this.#openFrame ?? (await this.#begin())).builder.write(record)) this.#seal();
  }

  async #appendAll(records: readonly SpillRecord[]): Promise<void> {
    for (const record of records) {
      if (isRecord(record) && this.#openFrame?.builder.write(record) === true) continue;
      await this.#append(recordBytes(record));
    }
  }

  async #appendBatch(batch: BinaryBatch): Promise<void> {
    const { offsets, data, count } = batch;
    for (let from = 0; from < count;) {
      const { builder } = this.#openFrame ?? (await this.#begin());
      const taken = builder.writeBatch(batch, from);
      from += taken;
      if (from === count) return;
      if (taken > 0 || builder.records > 0) this.#seal();
      else {
        await this.#append(recordBytes(data.subarray(offsets[from], offsets[from + 1])));
        from += 1;
      }
    }
  }

  /** Allocates the numbers of all its frames at once, so that no frame of another writer comes between them. */
  async #appendSpanning(record: Uint8Array): Promise<void> {
    this.#seal();
    const { buffers, number } = this.#options;
    const { sequence, firstRecord } = number(framesSpanned(record.length, buffers.frameBytes), 1);
    for (let [at, part] = [0, 0]; at < record.length; part += 1) {
      const frame = await this.#fill();
      at += frame.builder.writePart(record, at);
      this.#handOver(frame, { sequence: sequence + part, firstRecord });
    }
  }

  async #begin(): Promise<OpenFrame> {
    const { tokens, signal } = this.#options;
    const frame = await this.#fill();
    if (signal.aborted) {
      // `discard` has run already.
      frame.lease.detach();
      throw signal.reason;
    }
    this.#openFrame = frame;
    tokens.filling(this);
    return frame;
  }

  async #fill(): Promise<OpenFrame> {
    const { tokens, buffers, signal } = this.#options;
    await this.#yielder.next();
    const token = await tokens.acquire(signal);
    try {
      const buffer = await buffers.acquire(signal);
      return { builder: new FrameBuilder(buffer.bytes, this.#scratch), lease: endBoth(buffer, token) };
    } catch (error) {
      token.release();
      throw error;
    }
  }

  #removeOpenFrame(): OpenFrame | undefined {
    const frame = this.#openFrame;
    this.#openFrame = undefined;
    this.#flushRequested = false;
    this.#options.tokens.filled(this);
    return frame;
  }

  #seal(): void {
    if (this.#openFrame?.builder.records === 0) return this.discard();
    const frame = this.#removeOpenFrame();
    if (frame !== undefined) this.#handOver(frame, this.#options.number(1, frame.builder.records));
  }

  #handOver({ builder, lease }: OpenFrame, numbers: FrameNumbers): void {
    const { store, epoch, writer, compression, place } = this.#options;
    const frame = builder.seal({ store, epoch, writer, ...numbers });
    if (compression === undefined) return place(frame, lease);
    const compressed = compression.compress(frame).then(
      // The compressed frame has its own memory, so the buffer is reused.
      (smaller) => place(smaller, smaller === frame ? lease : { release: lease.release, detach: lease.release }),
      () => place(frame, lease),
    );
    const run = compressed.finally(() => this.#compressing.delete(run));
    this.#compressing.add(run);
  }
}

/** Checks all records before the first is written, so that an invalid batch stores none. */
function checkedRecords(batch: unknown): readonly SpillRecord[] {
  if (!Array.isArray(batch)) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `A batch must be an array of records or an Arrow vector, not of type ${batch === null ? 'null' : typeof batch}. Use write() for one record.`,
    );
  }
  for (const record of batch) checkRecord(record);
  return batch as SpillRecord[];
}

function endBoth(lease: BufferLease, token: FrameToken): BufferLease {
  return {
    release: () => {
      lease.release();
      token.release();
    },
    detach: () => {
      lease.detach();
      token.release();
    },
  };
}

/** The error of a write after `close()`, or after the end of its writer. */
export function closedError(name: string): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `Spilled data '${name}' cannot be written, because it was closed or this writer has ended. Open another writer, or create other spilled data.`,
  );
}
