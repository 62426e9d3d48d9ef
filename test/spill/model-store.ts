import { expect } from '@jest/globals';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { SpilledData } from '../../libs/hedge/src/spill/service/spilled-data.js';
import type { SpillCreateOptions } from '../../libs/hedge/src/spill/service/spill-create-options.js';
import { KB, type Reading, type Run } from './model-steps.js';
import type { ModelPod } from './model.js';

/** A store, and all records that were written to it. */
export class Stored {
  /** By writer, the records that were or may have been accepted; number 0 is `write` of the store. */
  readonly writers: Buffer[][] = [[]];
  full = false;
  /** All records, after the first complete read. */
  order: readonly Buffer[] | undefined;
  static #made = 0;
  readonly #number = (Stored.#made += 1);

  constructor(
    readonly spill: SpilledData,
    readonly owner: ModelPod,
    readonly options: SpillCreateOptions,
  ) {}

  get closed(): boolean {
    return this.spill.stats().closed;
  }

  /** Records that no other store has. Their first byte names their writer. */
  recordsOf(writer: number, { bytes, times, text }: Run): (Buffer | string)[] {
    const written = this.writers[writer] as Buffer[];
    const count = Math.min(times, Math.ceil((1_500 * KB) / (bytes + 1)));
    return Array.from({ length: count }, (_, i) => {
      // An empty one has no first byte.
      const length = writer === 0 ? bytes : Math.max(1, bytes);
      const pattern = `${String.fromCharCode(48 + writer)}${text ? 'é' : ''}${this.#number}/${written.length + i} `;
      const record = Buffer.alloc(length, pattern);
      return text ? record.toString() : record;
    });
  }

  /** P1 */
  check(read: readonly Buffer[], from: number, isWhole: boolean): void {
    const { order } = this;
    if (order !== undefined) return same(read, order.slice(from, from + read.length));
    const byWriter = this.writers.map((_, writer) => read.filter((record) => writerOf(record) === writer));
    expect(byWriter.flat().length).toBe(read.length);
    byWriter.forEach((records, writer) => {
      const written = this.writers[writer] as Buffer[];
      const first = from === 0 ? 0 : written.findIndex((record) => record.equals(records[0] ?? record));
      same(records, written.slice(first, first + records.length));
    });
    if (isWhole) this.order = read.map((record) => Buffer.from(record));
  }
}

function writerOf(record: Buffer): number {
  return record.length === 0 ? 0 : (record[0] as number) - 48;
}

/** P1 */
export function same(read: readonly Buffer[], written: readonly Buffer[]): void {
  const at = read.findIndex((record, i) => written[i]?.equals(record) !== true);
  if (at === -1) return;
  const [got, expected] = [read[at], written[at]].map(
    (record) => `${record?.length} bytes '${record?.toString('utf8', 0, 20)}'`,
  );
  throw new Error(`P1: record ${at} of ${read.length} is ${got}, and was written as ${expected}`);
}

/** Reads the range in the given way, and leaves the read after that many records. */
export async function readInto(
  read: Buffer[],
  spill: SpilledData,
  how: Reading['how'],
  range: { from: number; to: number },
  leave: number,
): Promise<void> {
  if (how === 'stream' && leave === Infinity) {
    const write = (record: Buffer, _: string, done: () => void): void => {
      read.push(record);
      done();
    };
    return pipeline(spill.read(range), new Writable({ objectMode: true, write }));
  }
  if (how === 'records' || how === 'stream') {
    for await (const record of spill.read(range)) {
      if (read.length >= leave) return;
      read.push(record);
    }
    return;
  }
  for await (const batch of spill.batches(range)) {
    const column = batch.getChild('record');
    for (let i = 0; i < batch.numRows; i += 1) {
      if (read.length >= leave) return;
      const bytes = column?.get(i) as Uint8Array;
      read.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
    }
  }
}
