import type { Readable } from 'node:stream';
import type { RecordBatch } from 'apache-arrow';
import { sharedAbortController } from '../../common/async/on-abort.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { NodeStorage, SpillPart } from '../node/storage.js';
import { FrameIndex, type MemberShare } from '../placement/frame-index.js';
import type { RecordColumn } from '../records/arrow.js';
import type { BinaryVector } from '../records/binary-batch.js';
import type { FrameCompression } from '../records/compression.js';
import type { SpillRecord } from '../records/frame-builder.js';
import type { RecordViews } from '../records/record-views.js';
import { storeOf } from '../replication/messages.js';
import type { Renewals } from '../replication/renewals.js';
import { arrowStream, batchesOfViews } from './arrow-stream.js';
import { readRecords, type RecordRange } from './frame-reader.js';
import { checkKeys } from '../../common/validation/check-keys.js';
import { FrameSource } from './frame-source.js';
import type { FrameTokens } from './frame-tokens.js';
import { PlacementRunner, type PlacementRunnerOptions, type StoreIdentity } from './placement.runner.js';
import { RecordStream } from './record-stream.js';
import { closedError, RecordWriter } from './record-writer.js';
import { SpillWriter } from './spill-writer.js';

/** Where the records of spilled data are. Survives `JSON.stringify`. */
export interface SpilledDataManifest {
  readonly name: string;
  /** Distinguishes the spilled data that this pod has created. */
  readonly epoch: number;
  readonly copies: 1 | 2;
  /** Records that can be read. */
  readonly records: number;
  readonly frames: number;
  /** What each member holds in each tier: with two copies, each record is on two of them. */
  readonly shares: readonly MemberShare[];
}

export interface SpilledDataStats extends SpilledDataManifest {
  /** Whether it was closed: only then its records are those that can be read. */
  readonly closed: boolean;
  /** Whether it was dropped, or has expired: it holds nothing any more. */
  readonly dropped: boolean;
}

/** What the stores of one pod share. */
export interface SpillContext extends Pick<
  PlacementRunnerOptions,
  'spaces' | 'clock' | 'stallMs' | 'giveUpMs' | 'random'
> {
  readonly self: MemberId;
  readonly node: NodeStorage;
  readonly routes: PlacementRunnerOptions['routes'];
  readonly renewals: Renewals;
  readonly tokens: FrameTokens;
}

export interface SpilledDataInit {
  readonly context: SpillContext;
  readonly store: StoreIdentity;
  readonly compression: FrameCompression | undefined;
  /** It was dropped; once. */
  readonly dropped: (data: SpilledData) => void;
}

/**
 * Records of one name: written once, closed, read in order any number of times, dropped. Made by `SpillStore.create`.
 *
 * Guarantee: a read yields exactly the records that were written, those of each writer in their order, or it throws
 * SPILL_LOST or SPILL_CORRUPT: never a gap without an error (P1). The records are as durable as the pods that hold
 * them, and gone when this one is.
 *
 * Where several writers write at once, the order of reading is that in which their frames (up to 1 MiB of records)
 * were full; it is the same in every read.
 */
export class SpilledData {
  readonly #init: SpilledDataInit;
  readonly #part: SpillPart;
  readonly #index = new FrameIndex();
  readonly #placer: PlacementRunner;
  /** Aborts when nothing more can be written. */
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
    const id = { store: storeOf(context.self.incarnation), epoch: store.epoch, name: store.name };
    this.#part = context.node.part(id, store.limits);
    this.#placer = new PlacementRunner({ ...context, store, part: this.#part, index: this.#index });
    this.#placer.signal.addEventListener('abort', () => this.#stopWriting(this.#placer.signal.reason as HedgeError), {
      once: true,
    });
    this.#records = this.#recordWriter();
  }

  get name(): string {
    return this.#init.store.name;
  }

  /**
   * Writes one record, at most 64 MiB; text as UTF-8. Resolves when the next one may come, which is at once while
   * there is room on the way: await it, or memory grows. That it resolved does not mean that it is placed: `close()`
   * says so.
   * @throws HedgeError SPILL_FULL when no pod has room; INVALID_ARGUMENT after `close()`; PAYLOAD_TOO_LARGE;
   *   SPILL_UNKNOWN when it was dropped or has expired
   * @example
   * for (const row of rows) await data.write(JSON.stringify(row));
   */
  write(record: SpillRecord): Promise<void> {
    return this.#dropping === undefined
      ? this.#records.write(record)
      : Promise.reject(this.#life.signal.reason as HedgeError);
  }

  /** Writes many records at once: an Arrow vector of type Binary or Utf8, or an array. Else as `write`. */
  writeBatch(batch: BinaryVector | readonly SpillRecord[]): Promise<void> {
    if (this.#dropping !== undefined) return Promise.reject(this.#life.signal.reason as HedgeError);
    return this.#records.writeBatch(batch);
  }

  /** A further writer, as a Node Writable of records. End it before `close()`. */
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
   * Resolves when every byte is placed and acknowledged. From then on the store can be read, and not be written.
   * Idempotent.
   * @throws HedgeError SPILL_FULL when not everything found a place: it is closed all the same, and the records
   *   before can be read (`stats().records`); INVALID_ARGUMENT while a writer is not ended; SPILL_UNKNOWN
   */
  async close(): Promise<SpilledDataManifest> {
    this.#life.signal.throwIfAborted();
    const open = [...this.#writers.keys()].filter((writer) => !writer.writableFinished && !writer.destroyed);
    if (this.#closing === undefined && open.length > 0) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `Spilled data '${this.name}' cannot be closed: end() its writers, and wait for 'finish'. Not ended: ${open.length}.`,
      );
    }
    this.#closing ??= this.#finish();
    await this.#closing;
    this.#life.signal.throwIfAborted();
    this.#placer.signal.throwIfAborted();
    return this.#manifest();
  }

  /**
   * The records, from number `from` (from 0) up to and without `to`: a Readable in object mode, which is also an async
   * iterable, and as that several times as fast. Many reads at once are independent of each other. Do not change
   * the buffers: they are views into what other reads may see.
   * @throws HedgeError INVALID_ARGUMENT before `close()`, and for a range that there is not; SPILL_UNKNOWN; the
   *   stream fails with SPILL_LOST, naming members and records, or SPILL_CORRUPT
   * @example
   * for await (const record of data.read()) digest.update(record);
   */
  read(range: Partial<RecordRange> = {}): RecordStream {
    return new RecordStream(this.#views(range));
  }

  /** All records, as `read()` gives them. */
  [Symbol.asyncIterator](): AsyncIterator<Buffer, undefined> {
    return this.read()[Symbol.asyncIterator]();
  }

  /**
   * The same as Apache Arrow record batches with one column `record` of type Binary, not copied: the fastest way.
   * @throws HedgeError as `read`
   */
  batches(range: Partial<RecordRange> = {}): AsyncGenerator<RecordBatch<RecordColumn>, void> {
    return batchesOfViews(this.#views(range));
  }

  /**
   * The same as the bytes of an Arrow IPC stream, which pyarrow, DuckDB and others read.
   * @throws HedgeError as `read`
   * @example
   * await pipeline(data.toArrowStream(), createWriteStream('rows.arrows'));
   */
  toArrowStream(range: Partial<RecordRange> = {}): Readable {
    return arrowStream(this.#views(range));
  }

  /** What is written so far, and where; once closed, what can be read. */
  stats(): SpilledDataStats {
    return { ...this.#manifest(), closed: this.#closed, dropped: this.#dropping !== undefined };
  }

  /** Frees the store on every pod, as far as they can be reached; the others do so by themselves. Idempotent. */
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

  /** The members or their space have changed. @internal */
  membersChanged(): void {
    this.#placer.membersChanged();
  }

  async #finish(): Promise<void> {
    for (const records of this.#writers.values()) await records.finish();
    await this.#records.finish();
    this.#stopWriting(closedError(this.name));
    await this.#placer.settled();
    this.#placer.finish();
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
      this.#placer.cancel(error);
      this.#stopWriting(error);
      dropped(this);
      await Promise.all([context.node.drop(this.#part.id), context.renewals.drop(store.epoch)]);
    })();
    return this.#dropping;
  }

  #views(range: Partial<RecordRange>): AsyncGenerator<RecordViews, void> {
    this.#life.signal.throwIfAborted();
    if (!this.#closed) {
      throw new HedgeError('INVALID_ARGUMENT', `Spilled data '${this.name}' is being written: close() it, then read.`);
    }
    const { records } = this.#index;
    checkKeys(`What to read of spilled data '${this.name}'`, range, ['from', 'to']);
    const { from = 0, to = records } = range;
    if (!(Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from <= to && to <= records)) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `Records ${from} to ${to} of spilled data '${this.name}' cannot be read: it has ${records}. Give 0 ≤ from ≤ to ≤ ${records}.`,
      );
    }
    const { context, store, compression } = this.#init;
    const { self, node, routes, tokens, clock, stallMs } = context;
    const index = this.#index;
    const { buffers } = node;
    const source = new FrameSource({
      store,
      self,
      part: this.#part,
      index,
      routes,
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
      place: (frame, loan) => this.#placer.place(frame, loan),
      signal: this.#writing.signal,
    });
  }

  #manifest(): SpilledDataManifest {
    const { name, epoch, copies } = this.#init.store;
    const index = this.#dropping === undefined ? this.#index : new FrameIndex();
    return { name, epoch, copies, records: index.records, frames: index.length, shares: index.shares() };
  }
}
