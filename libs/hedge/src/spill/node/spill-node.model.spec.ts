import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { HedgeError } from '../../common/errors.js';
import { FrameBuilder } from '../records/frame-builder.js';
import { MAX_FRAME_BYTES, type SpillFrame } from '../records/frame.js';
import { RecordViews } from '../records/record-views.js';
import type { DataDisk, DataFile } from './data-file.js';
import { MIN_MEMORY, SpillNode } from './spill-node.js';
import type { PartId, SpillPart, SpillTier } from './storage.js';

const KB = 1024;
const DISK = 512 * KB;
const FLOOR = 64 * KB;

/** A disk in memory, which can be full, slow, corrupt or dead. */
class FaultyDisk implements DataDisk {
  readonly files = new Set<Buffer[]>();
  capacity = 1024 * KB;
  dead = false;
  /** The most bytes of one read or write. */
  step = Infinity;

  get used(): number {
    return [...this.files].reduce((sum, [content]) => sum + (content?.length ?? 0), 0);
  }

  async prepare(): Promise<void> {}

  async free(): Promise<number> {
    return this.capacity - this.used;
  }

  async create(): Promise<DataFile> {
    this.#assertAlive();
    const file = [Buffer.alloc(0)] as [Buffer];
    this.files.add(file);
    return {
      read: async (into, position) => {
        this.#assertAlive();
        return file[0].copy(into, 0, position, Math.min(position + this.step, position + into.length));
      },
      write: async (bytes, position) => {
        this.#assertAlive();
        const part = bytes.subarray(0, this.step);
        const growth = Math.max(0, position + part.length - file[0].length);
        const fitting = part.subarray(0, Math.max(0, part.length - Math.max(0, growth - (await this.free()))));
        if (fitting.length === 0) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
        const end = position + fitting.length;
        if (end > file[0].length) file[0] = Buffer.concat([file[0]], end);
        fitting.copy(file[0], position);
        return fitting.length;
      },
      close: async () => void this.files.delete(file),
    };
  }

  /** Changes one byte, or truncates the file there. */
  damage(kind: 'flip' | 'cut', at: number): void {
    for (const file of this.files) {
      const content = file[0] as Buffer;
      if (content.length === 0) continue;
      const position = at % content.length;
      if (kind === 'cut') file[0] = content.subarray(0, position);
      else content[position] = (content[position] as number) ^ 0x55;
    }
  }

  #assertAlive(): void {
    if (this.dead) throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
  }
}

type Step =
  | { type: 'put'; store: number; tier: SpillTier; sizes: number[] }
  | { type: 'put again' | 'remove'; store: number; index: number }
  | { type: 'reserve'; store: number; tier: SpillTier; bytes: number }
  | { type: 'drop'; store: number }
  | { type: 'damage'; kind: 'flip' | 'cut'; at: number }
  | { type: 'disk'; dead: boolean; capacity: number; step: number };

const store = fc.nat(2);
const tier = fc.constantFrom<SpillTier>('memory', 'disk', 'disk');
const bytes = fc.integer({ min: 1, max: 90 * KB });
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        type: fc.constant('put' as const),
        store,
        tier,
        sizes: fc.array(bytes, { maxLength: 4 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constantFrom('put again' as const, 'remove' as const), store, index: fc.nat(9) }),
    },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('reserve' as const), store, tier, bytes }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('drop' as const), store }) },
    {
      weight: 1,
      arbitrary: fc.record({
        type: fc.constant('damage' as const),
        kind: fc.constantFrom('flip' as const, 'cut' as const),
        at: fc.nat(),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        type: fc.constant('disk' as const),
        dead: fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, fc.boolean()),
        capacity: fc.constantFrom(100 * KB, 300 * KB, 1024 * KB),
        step: fc.constantFrom(Infinity, 1_000),
      }),
    },
  ),
  { maxLength: 40 },
);

/** The expected content: the records of each acknowledged frame. */
type Model = Map<number, { id: PartId; part: SpillPart; frames: Map<number, string>; sequence: number }>;

class History {
  readonly #model: Model = new Map();
  readonly #scratch = FrameBuilder.scratch(128 * KB);
  #node!: SpillNode;
  #epoch = 0;
  #time = 0;
  #damaged = false;
  readonly #disk = new FaultyDisk();

  static async run(steps: readonly Step[]): Promise<void> {
    const history = new History();
    const clock = { now: () => ({ mono: history.#time, wall: 0 }), after: () => () => {} };
    const options = { memory: MIN_MEMORY, disk: DISK, directory: '', minFreeDisk: FLOOR, clock, files: history.#disk };
    history.#node = await SpillNode.open(options);
    for (const step of steps) {
      await history.#perform(step);
      await history.#check();
    }
    await history.#end();
  }

  async #perform(step: Step): Promise<void> {
    // Sometimes long enough that a failed disk is tried again.
    this.#time += 700;
    switch (step.type) {
      case 'put':
        await Promise.all(step.sizes.map((size) => this.#put(this.#storeOf(step.store), step.tier, size)));
        return;
      case 'put again': {
        const { part, frames } = this.#storeOf(step.store);
        const [sequence, content] = [...frames][step.index] ?? [];
        if (sequence === undefined || content === undefined) return;
        const before = part.usage();
        const frame = this.#frame(part.id, sequence, content);
        const room = part.reserve('memory', frame.bytes.length);
        if (room.granted) await part.put(frame, room);
        expect(part.usage()).toEqual(before);
        return;
      }
      case 'remove': {
        const { part, frames } = this.#storeOf(step.store);
        const [sequence] = [...frames][step.index] ?? [];
        if (sequence === undefined) return;
        part.remove(sequence);
        frames.delete(sequence);
        return;
      }
      case 'reserve': {
        const room = this.#storeOf(step.store).part.reserve(step.tier, step.bytes);
        this.#checkBudgets();
        if (room.granted) room.release();
        return;
      }
      case 'drop': {
        const { id, part } = this.#storeOf(step.store);
        this.#model.delete(step.store);
        await this.#node.drop(id);
        await expect(part.read(0)).rejects.toMatchObject({ code: 'SPILL_UNKNOWN' });
        return;
      }
      case 'damage':
        this.#disk.damage(step.kind, step.at);
        this.#damaged = true;
        return;
      case 'disk':
        Object.assign(this.#disk, { dead: step.dead, capacity: step.capacity, step: step.step });
    }
  }

  async #put(store: { part: SpillPart; frames: Map<number, string>; sequence: number }, tier: SpillTier, size: number) {
    const { part, frames } = store;
    const sequence = (store.sequence += 1);
    const content = String(sequence).repeat(size).slice(0, size);
    const frame = this.#frame(part.id, sequence, content);
    const room = part.reserve(tier, frame.bytes.length);
    if (!room.granted) return;
    try {
      await part.put(frame, room);
      frames.set(sequence, content);
    } catch (error) {
      expect(error).toMatchObject({ code: 'SPILL_FULL' });
      expect(part.has(sequence)).toBe(false);
    }
  }

  async #check(): Promise<void> {
    this.#checkBudgets();
    for (const { part, frames } of this.#model.values()) {
      for (const [sequence, content] of frames) expect(await this.#read(part, sequence)).toBe(content);
    }
  }

  /** P1: the records, or an error that names them. */
  async #read(part: SpillPart, sequence: number): Promise<string | undefined> {
    try {
      const frame = await part.read(sequence);
      const content = [...RecordViews.of(frame)].join('');
      frame.lease.release();
      return content;
    } catch (error) {
      if (!(error instanceof HedgeError) || !(this.#damaged || this.#disk.dead)) throw error;
      expect(error).toMatchObject({ code: 'SPILL_CORRUPT', details: { from: sequence, to: sequence + 1 } });
      return this.#model.get(Number(part.id.name))?.frames.get(sequence);
    }
  }

  /** P2: stored bytes ≤ counted bytes ≤ the budget, for disk and memory. */
  #checkBudgets(): void {
    const used = this.#node.used();
    expect(used.memory + this.#node.idleBytes).toBeLessThanOrEqual(MIN_MEMORY);
    expect(used.disk).toBeLessThanOrEqual(DISK);
    expect(this.#disk.used).toBeLessThanOrEqual(used.disk);
    expect(this.#node.free().memory).toBeGreaterThanOrEqual(0);
    expect(this.#node.free().disk).toBeGreaterThanOrEqual(0);
    for (const { part } of this.#model.values()) {
      expect(part.usage().disk.bytes).toBeLessThanOrEqual(DISK / 2);
      expect(part.usage().memory.bytes).toBeLessThanOrEqual(MAX_FRAME_BYTES);
    }
  }

  async #end(): Promise<void> {
    await this.#node.close();
    expect(this.#node.used()).toEqual({ memory: 0, disk: 0 });
    expect(this.#node.idleBytes).toBe(0);
    expect(this.#disk.files.size).toBe(0);
  }

  #storeOf(number: number) {
    const known = this.#model.get(number);
    if (known !== undefined) return known;
    this.#epoch += 1;
    const id = { store: `${number}`.repeat(32), epoch: this.#epoch, name: `${number}` };
    const part = this.#node.part(id, { memory: MAX_FRAME_BYTES, disk: DISK / 2 });
    const made = { id, part, frames: new Map<number, string>(), sequence: 0 };
    this.#model.set(number, made);
    return made;
  }

  #frame({ store, epoch }: PartId, sequence: number, content: string): SpillFrame {
    const builder = new FrameBuilder(Buffer.alloc(128 * KB), this.#scratch);
    expect(builder.write(content)).toBe(true);
    return builder.seal({ store, epoch, writer: 0, sequence, firstRecord: sequence });
  }
}

describe('SpillNode under disk faults', () => {
  it('P1, P2: returns each acknowledged frame or an error that names it, and stays within its budgets', async () => {
    await fc.assert(
      fc.asyncProperty(steps, (steps) => History.run(steps)),
      { numRuns: 150 },
    );
  });
});
