import type { Readable } from 'node:stream';
import type { RecordBatch } from 'apache-arrow';
import { sharedAbortController } from '../../common/async/on-abort.js';
import { checkKeys } from '../../common/validation/check-keys.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { NodeStorage, SpillPart } from '../node/storage.js';
import { FrameIndex, type MemberShare } from '../placement/frame-index.js';
import type { BinaryVector } from '../records/binary-batch.js';
import type { FrameCompression } from '../records/compression.js';
import { storeIdOf } from '../records/frame.js';
import type { SpillRecord } from '../records/frame-builder.js';
import type { RecordViews } from '../records/record-views.js';
import { arrowStream, batchesOfViews, type RecordColumn } from './arrow-stream.js';
import { readRecords, type RecordRange } from './frame-reader.js';
import { FrameSource } from './frame-source.js';
import type { FrameTokens } from './frame-tokens.js';
import { PlacementRunner, type PlacementRunnerOptions, type StoreIdentity } from '../placement/placement.runner.js';
import { RecordStream } from './record-stream.js';
import { closedError, RecordWriter } from './record-writer.js';
import { SpillWriter } from './spill-writer.js';

/** The members that hold the records of spilled data. Survives `JSON.stringify`. */
export interface SpilledDataManifest {
  readonly name: string;
  /** A number that rises with all spilled data that this pod creates. */
  readonly epoch: number;
  readonly copies: 1 | 2;
  /** Records that can be read. */
  readonly records: number;
  readonly frames: number;
  /** The share of each member in each tier. With two copies each record counts on two members. */
  readonly shares: readonly MemberShare[];
}

export interface SpilledDataStats extends SpilledDataManifest {
  /** Whether it was closed, so that its records can be read. */
  readonly closed: boolean;
  /** Whether it was dropped or has expired, so that it holds no records. */
  readonly dropped: boolean;
}

/** The parts of a pod that all its stores use. */
export interface SpillContext extends Pick<
  PlacementRunnerOptions,
  'replicas' | 'capacities' | 'clock' | 'stallMs' | 'giveUpMs' | 'random'
> {
  readonly self: MemberId;
  readonly node: NodeStorage;
  readonly tokens: FrameTokens;
}

export interface SpilledDataInit {
  readonly context: SpillContext;
  readonly store: StoreIdentity;
  readonly compression: FrameCompression | undefined;
  /** Called once, when it is dropped. */
  readonly dropped: (data: SpilledData) => void;
}

/**
 * Records of one name: written once, closed, read in order any number of times, dropped. `SpillStore.create` returns
 * it.
 *
 * Guarantee: a read yields exactly the records that were written, those of each writer in their order, or it throws
 * SPILL_LOST or SPILL_CORRUPT: never a gap without an error (P1). A record is lost with the pods that hold it, and
 * with the pod that created the data.
 *
 * If several writers write at once, records are read in the order in which the writers' frames (up to 1 MiB of
 * records) became full. Every read has the same order.
 */
export class SpilledData {
  readonly #init: SpilledDataInit;
  readonly #part: SpillPart;
  readonly #index = new FrameIndex();
  readonly #placement: PlacementRunner;
  /** Aborts when writing ends. */
  readonly #writing = sharedAbortController();
  /** Aborts when the store is dropped. */
  readonly #life = sharedAbortController();
  readonly #records: RecordWriter;
  readonly #writers = new Map<SpillWriter, RecordWriter>();
  #writerNumber = 0;
  #sequence = 0;
  #recordNumber = 0;
  #closing: Promise<void> | undefined;
  #closed = false;
  #dropping: Promise<void> | undefined;

  /** @internal */
  constructor(init: SpilledDataInit) {
    const { context, store } = init;
    this.#init = init;
    const id = { store: storeIdOf(context.self.incarnation), epoch: store.epoch, name: store.name };
    this.#part = context.node.part(id, store.limits);
    this.#placement = new PlacementRunner({ ...context, store, part: this.#part, index: this.#index });
    this.#placement.signal.addEventListener(
      'abort',
      () => this.#stopWriting(this.#placement.signal.reason as HedgeError),
      {
        once: true,
      },
    );
    this.#records = this.#recordWriter();
  }

  get name(): string {
    return this.#init.store.name;
  }

  /**
   * Writes one record, at most 64 MiB; text as UTF-8. Resolves when the next one can be written, which is at once while
   * a buffer has room: await it, or memory grows. The record is placed only when `close()` has resolved.
   * @throws HedgeError SPILL_FULL when no pod has room; INVALID_ARGUMENT after `close()`; PAYLOAD_TOO_LARGE;
   *   SPILL_UNKNOWN when the data was dropped or has expired
   * @example
   * for (const row of rows) await data.write(JSON.stringify(row));
   */
  write(record: SpillRecord): Promise<void> {
    return this.#dropping === undefined
      ? this.#records.write(record)
      : Promise.reject(this.#life.signal.reason as HedgeError);
  }

  /** As `write`, for many records: an Arrow vector of type Binary or Utf8, or an array. */
  writeBatch(batch: BinaryVector | readonly SpillRecord[]): Promise<void> {
    if (this.#dropping !== undefined) return Promise.reject(this.#life.signal.reason as HedgeError);
    return this.#records.writeBatch(batch);
  }

  /** Another writer, as a Node Writable of records. End it before `close()`. */
  writer(): SpillWriter {
    this.#life.signal.throwIfAborted();
    this.#writing.signal.throwIfAborted();
    if (this.#closing !== undefined) throw closedError(this.name);
    const records = this.#recordWriter();
    const writer = new SpillWriter(records);
    this.#writers.set(writer, records);
    writer.once('close', () => this.#writers.delete(writer));
    return writer;
  }

  /**
   * Ends writing. Resolves when every record is placed and acknowledged; from then on the data can be read.
   * Idempotent.
   * @throws HedgeError SPILL_FULL when some records have no room: the data is closed all the same, and the records
   *   before them can be read (`stats().records`); INVALID_ARGUMENT while a writer is not ended; SPILL_UNKNOWN
   */
  async close(): Promise<SpilledDataManifest> {
    this.#life.signal.throwIfAborted();
    const open = [...this.#writers.keys()].filter((writer) => !writer.writableFinished && !writer.destroyed);
    if (this.#closing === undefined && open.length > 0) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `Spilled data '${this.name}' cannot be closed: ${open.length} of its writers are not ended. Call end() on each, and wait for 'finish'.`,
      );
    }
    this.#closing ??= this.#finish();
    await this.#closing;
    this.#life.signal.throwIfAborted();
    this.#placement.signal.throwIfAborted();
    return this.#manifest();
  }

  /**
   * The records from number `from` (the first is 0) to number `to`, exclusive: a Readable in object mode. It is also an
   * async iterable, which is several times as fast. Reads at the same time do not affect each other. Do not change the
   * buffers: other reads may see the same memory.
   * @throws HedgeError INVALID_ARGUMENT before `close()`, and for a range beyond the records; SPILL_UNKNOWN; the
   *   stream fails with SPILL_LOST, which names members and records, or with SPILL_CORRUPT
   * @example
   * for await (const record of data.read()) digest.update(record);
   */
  read(range: Partial<RecordRange> = {}): RecordStream {
    return new RecordStream(this.#views(range));
  }

  /** All records, as `read()` returns them. */
  [Symbol.asyncIterator](): AsyncIterator<Buffer, undefined> {
    return this.read()[Symbol.asyncIterator]();
  }

  /**
   * As `read`, in Apache Arrow record batches with one column `record` of type Binary. Copies nothing, so it is the
   * fastest read.
   * @throws HedgeError as `read`
   */
  batches(range: Partial<RecordRange> = {}): AsyncGenerator<RecordBatch<RecordColumn>, void> {
    return batchesOfViews(this.#views(range));
  }

  /**
   * As `read`, in the bytes of an Arrow IPC stream, which pyarrow, DuckDB and others read.
   * @throws HedgeError as `read`
   * @example
   * await pipeline(data.toArrowStream(), createWriteStream('rows.arrows'));
   */
  toArrowStream(range: Partial<RecordRange> = {}): Readable {
    return arrowStream(this.#views(range));
  }

  /** The records that are written so far, and the members that hold them. */
  stats(): SpilledDataStats {
    return { ...this.#manifest(), closed: this.#closed, dropped: this.#dropping !== undefined };
  }

  /** Frees the data on every pod; a pod that cannot be reached now frees it later. Idempotent. */
  drop(): Promise<void> {
    return this.#dropFor('was dropped');
  }

  /** `await using data = await spill.create(name)` drops it at the end of the block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.drop();
  }

  /** @internal */
  expire(): Promise<void> {
    return this.#dropFor('has expired (ttlMs)');
  }

  /** The members or their capacity have changed. @internal */
  membersChanged(): void {
    this.#placement.membersChanged();
  }

  async #finish(): Promise<void> {
    for (const records of this.#writers.values()) await records.finish();
    await this.#records.finish();
    this.#stopWriting(closedError(this.name));
    await this.#placement.settled();
    this.#placement.finish();
    this.#closed = true;
  }

  #stopWriting(reason: HedgeError): void {
    this.#writing.abort(reason);
    this.#records.discard();
    for (const records of this.#writers.values()) records.discard();
  }

  #dropFor(why: string): Promise<void> {
    const { context, store, dropped } = this.#init;
    const error = new HedgeError('SPILL_UNKNOWN', `Spilled data '${this.name}' ${why}. Create it again.`, {
      details: { store: this.name },
    });
    this.#dropping ??= (async () => {
      this.#life.abort(error);
      this.#placement.cancel(error);
      this.#stopWriting(error);
      dropped(this);
      await Promise.all([context.node.drop(this.#part.id), context.replicas.drop(store.epoch)]);
    })();
    return this.#dropping;
  }

  #views(range: Partial<RecordRange>): AsyncGenerator<RecordViews, void> {
    this.#life.signal.throwIfAborted();
    if (!this.#closed) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `Spilled data '${this.name}' cannot be read before it is closed. Call close() first.`,
      );
    }
    const { records } = this.#index;
    checkKeys(`The range to read of spilled data '${this.name}'`, range, ['from', 'to']);
    const { from = 0, to = records } = range;
    if (!(Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from <= to && to <= records)) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `Records ${from} to ${to} of spilled data '${this.name}' cannot be read: it has ${records} records. Give 0 ≤ from ≤ to ≤ ${records}.`,
      );
    }
    const { context, store, compression } = this.#init;
    const { self, node, replicas, tokens, clock, stallMs } = context;
    const index = this.#index;
    const { buffers } = node;
    const source = new FrameSource({
      store,
      self,
      part: this.#part,
      index,
      replicas,
      buffers,
      compression,
      clock,
      stallMs,
    });
    return readRecords({ index, source, tokens, signal: this.#life.signal }, { from, to });
  }

  #recordWriter(): RecordWriter {
    const { context, store, compression } = this.#init;
    const writer = this.#writerNumber;
    this.#writerNumber += 1;
    return new RecordWriter({
      store: this.#part.id.store,
      name: store.name,
      epoch: store.epoch,
      writer,
      buffers: context.node.buffers,
      tokens: context.tokens,
      compression,
      number: (frames, records) => {
        const numbers = { sequence: this.#sequence, firstRecord: this.#recordNumber };
        this.#sequence += frames;
        this.#recordNumber += records;
        return numbers;
      },
      place: (frame, lease) => this.#placement.place(frame, lease),
      signal: this.#writing.signal,
    });
  }

  #manifest(): SpilledDataManifest {
    const { name, epoch, copies } = this.#init.store;
    const index = this.#dropping === undefined ? this.#index : new FrameIndex();
    return { name, epoch, copies, records: index.records, frames: index.length, shares: index.shares() };
  }
}
