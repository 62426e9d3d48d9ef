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
import { EventLoopYielder } from './event-loop-yielder.js';

const DONE = Promise.resolve();

/** Numbers for frames that are sealed at once, and for the records in them. */
export interface FrameNumbers {
  readonly sequence: number;
  readonly firstRecord: number;
}

export interface RecordWriterOptions {
  readonly store: string;
  /** The name people gave the store, for messages. */
  readonly name: string;
  readonly epoch: number;
  /** Number of the writer in its store. */
  readonly writer: number;
  readonly buffers: FrameBuffers;
  readonly tokens: FrameTokens;
  readonly compression: FrameCompression | undefined;
  /** Takes the next numbers of the store. */
  readonly number: (frames: number, records: number) => FrameNumbers;
  readonly place: (frame: SpillFrame, lease: BufferLease) => void;
  /** Aborts when nothing more can be written, with the reason. */
  readonly signal: AbortSignal;
}

interface Filling {
  readonly builder: FrameBuilder;
  /** Of its buffer and its token. */
  readonly lease: BufferLease;
}

/** EventLoopYielder the records of one writer into frames, in their order. */
export class RecordWriter {
  readonly #options: RecordWriterOptions;
  readonly #scratch: Int32Array;
  readonly #turns = new EventLoopYielder();
  #filling: Filling | undefined;
  /** The last call that had to wait; calls run one after the other. */
  #tail: Promise<void> | undefined;
  /** What is being filled is to be sealed when the calls under way have ended. */
  #hurried = false;
  #finished = false;
  readonly #compressing = new Set<Promise<void>>();

  constructor(options: RecordWriterOptions) {
    this.#options = options;
    this.#scratch = FrameBuilder.scratch(options.buffers.frameBytes);
  }

  /** See `SpilledData.write`. */
  write(record: SpillRecord): Promise<void> {
    if (this.#tail === undefined && this.#filling !== undefined && isRecord(record)) {
      if (this.#filling.builder.write(record)) return DONE;
    }
    return this.#inTurn(async () => this.#append(recordBytes(record)));
  }

  /** See `SpilledData.writeBatch`. */
  writeBatch(batch: BinaryVector | readonly SpillRecord[]): Promise<void> {
    return this.#inTurn(async () => {
      if (isVector(batch)) for (const one of batchesOf(batch)) await this.#appendBatch(one);
      else await this.#appendAll(checkedRecords(batch));
    });
  }

  /** Seals what there is, for somebody who needs the room; while calls are under way, when they have ended. */
  flush(): void {
    if (this.#tail === undefined) this.#seal();
    else this.#hurried = true;
  }

  /** Takes nothing more. Resolves when all that was written is handed over to be placed. Idempotent. */
  async finish(): Promise<void> {
    this.#finished = true;
    await this.#tail?.catch(() => undefined);
    this.#seal();
    await Promise.all(this.#compressing);
  }

  /** Gives back what it fills: the store is dropped. */
  discard(): void {
    this.#take()?.lease.release();
  }

  #inTurn(call: () => Promise<void>): Promise<void> {
    if (this.#finished) return Promise.reject(closedError(this.#options.name));
    const run = this.#tail === undefined ? call() : this.#tail.then(call, call);
    const tail = run.finally(() => {
      if (this.#tail !== tail) return;
      this.#tail = undefined;
      if (this.#hurried) this.#seal();
    });
    // Whoever made the call is told of its failure.
    tail.catch(() => undefined);
    this.#tail = tail;
    return run;
  }

  async #append(record: Uint8Array): Promise<void> {
    if (record.length > longestRecord(this.#options.buffers.frameBytes)) return this.#span(record);
    while (!(this.#filling ?? (await this.#begin())).builder.write(record)) this.#seal();
  }

  async #appendAll(records: readonly SpillRecord[]): Promise<void> {
    for (const record of records) {
      if (isRecord(record) && this.#filling?.builder.write(record) === true) continue;
      await this.#append(recordBytes(record));
    }
  }

  async #appendBatch(batch: BinaryBatch): Promise<void> {
    const { offsets, data, count } = batch;
    for (let from = 0; from < count;) {
      const { builder } = this.#filling ?? (await this.#begin());
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

  /** Its frames follow each other, whatever other writers seal meanwhile: their numbers are taken at once. */
  async #span(record: Uint8Array): Promise<void> {
    this.#seal();
    const { buffers, number } = this.#options;
    const { sequence, firstRecord } = number(framesSpanned(record.length, buffers.frameBytes), 1);
    for (let [at, part] = [0, 0]; at < record.length; part += 1) {
      const filling = await this.#fill();
      at += filling.builder.writePart(record, at);
      this.#handOver(filling, { sequence: sequence + part, firstRecord });
    }
  }

  async #begin(): Promise<Filling> {
    const { tokens, signal } = this.#options;
    const filling = await this.#fill();
    if (signal.aborted) {
      // What was being filled is discarded already.
      filling.lease.detach();
      throw signal.reason;
    }
    this.#filling = filling;
    tokens.filling(this);
    return filling;
  }

  async #fill(): Promise<Filling> {
    const { tokens, buffers, signal } = this.#options;
    await this.#turns.next();
    const token = await tokens.acquire(signal);
    try {
      const buffer = await buffers.take(signal);
      return { builder: new FrameBuilder(buffer.bytes, this.#scratch), lease: endsBoth(buffer, token) };
    } catch (error) {
      token.release();
      throw error;
    }
  }

  #take(): Filling | undefined {
    const filling = this.#filling;
    this.#filling = undefined;
    this.#hurried = false;
    this.#options.tokens.filled(this);
    return filling;
  }

  #seal(): void {
    if (this.#filling?.builder.records === 0) return this.discard();
    const filling = this.#take();
    if (filling !== undefined) this.#handOver(filling, this.#options.number(1, filling.builder.records));
  }

  #handOver({ builder, lease }: Filling, numbers: FrameNumbers): void {
    const { store, epoch, writer, compression, place } = this.#options;
    const frame = builder.seal({ store, epoch, writer, ...numbers });
    if (compression === undefined) return place(frame, lease);
    const compressed = compression.compress(frame).then(
      // The buffer is not what is placed, unless it was not worth while.
      (smaller) => place(smaller, smaller === frame ? lease : { release: lease.release, detach: lease.release }),
      () => place(frame, lease),
    );
    const run = compressed.finally(() => this.#compressing.delete(run));
    this.#compressing.add(run);
  }
}

/** All of them, before one is written: of what fails for its argument nothing is stored. */
function checkedRecords(batch: unknown): readonly SpillRecord[] {
  if (!Array.isArray(batch)) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `A batch must be an array of records or an Arrow vector, not of type ${batch === null ? 'null' : typeof batch}. For one record there is write().`,
    );
  }
  for (const record of batch) checkRecord(record);
  return batch as SpillRecord[];
}

function endsBoth(lease: BufferLease, token: FrameToken): BufferLease {
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

/** What a write ends with that comes after `close()`, or after the end of its writer. */
export function closedError(name: string): HedgeError {
  return new HedgeError(
    'INVALID_ARGUMENT',
    `Spilled data '${name}' was closed, or this writer of it ended, so it takes nothing more. Take another writer, or create another store.`,
  );
}
