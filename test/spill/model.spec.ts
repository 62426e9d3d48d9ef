import { describe, expect, it } from '@jest/globals';
import { Binary, vectorFromArray } from 'apache-arrow';
import * as fc from 'fast-check';
import { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { SpillCreateOptions } from '../../libs/hedge/src/spill/service/spill-create-options.js';
import { type ModelPod, turnOfLoop, World } from './model.js';
import {
  type Beginning,
  history,
  KB,
  type FaultDuring,
  type Reading,
  type Step,
  whole,
  type Writing,
} from './model-steps.js';
import { readInto, same, Stored } from './model-store.js';
import { MB } from './pods.js';

const MAX_PODS = 5;
/** Different histories in each run. `SPILL_HISTORIES=1000 npm run jest -- test/spill/model` runs that many, without a time limit. */
const HISTORIES = Number(process.env['SPILL_HISTORIES'] ?? 45);
const LIMIT_MS = process.env['SPILL_HISTORIES'] === undefined ? 60_000 : HISTORIES * 5_000;

class History {
  readonly #world: World;
  readonly #stores: Stored[] = [];
  #created = 0;
  /** Records that a reader still uses, and their expected bytes. */
  readonly #kept: { readonly views: readonly Buffer[]; readonly copies: readonly Buffer[] }[] = [];

  private constructor(delayMs: number) {
    this.#world = new World(delayMs);
  }

  static async run({ delayMs, pods, stores, steps }: Beginning): Promise<void> {
    const history = new History(delayMs);
    const world = history.#world;
    try {
      for (const offered of pods) await world.join(offered);
      for (const step of [...stores, ...steps]) {
        await world.step(JSON.stringify(step), () => history.#perform(step));
      }
      await world.step('dropping all', async () => {
        await Promise.all(history.#living.map(({ spill }) => spill.drop()));
      });
      await world.end();
      for (const { views, copies } of history.#kept) same(views, copies);
    } finally {
      await world.close();
    }
  }

  /** The stores of live owners. */
  get #living(): Stored[] {
    return this.#stores.filter(({ owner }) => owner.alive);
  }

  async #perform(step: Step): Promise<void> {
    const world = this.#world;
    switch (step.type) {
      case 'create': {
        const owner = pick(world.living, step.pod);
        this.#created += 1;
        return this.#create(owner, `s${this.#created}`, step.options);
      }
      case 'write': {
        const open = this.#living.filter(({ closed }) => !closed);
        const writings = open.length === 0 ? [] : step.writings.map((one) => ({ ...one, to: pick(open, one.store) }));
        const works = [...new Set(writings.map(({ to }) => to))].map((stored) =>
          this.#writeAll(
            stored,
            writings.filter(({ to }) => to === stored),
          ),
        );
        const owners = writings.map(({ to }) => to.owner);
        return this.#during(works, step.during, owners);
      }
      case 'close': {
        const open = this.#living.filter(({ closed }) => !closed);
        if (open.length === 0) return;
        const stored = pick(open, step.store);
        await this.#during([this.#close(stored)], step.during, [stored.owner]);
        return this.#read(stored, { how: 'records', ...whole });
      }
      case 'read': {
        const closed = this.#living.filter(({ closed }) => closed);
        if (closed.length === 0) return;
        const stored = pick(closed, step.store);
        const works = step.readings.map((reading) => this.#read(stored, reading));
        return this.#during(works, step.during, [stored.owner]);
      }
      case 'drop': {
        if (this.#living.length === 0) return;
        const stored = pick(this.#living, step.store);
        const { spill, owner, options } = stored;
        this.#stores.splice(this.#stores.indexOf(stored), 1);
        await spill.drop();
        if (step.again) await this.#create(owner, spill.name, options);
        return;
      }
      case 'join':
        if (world.pods.length < MAX_PODS) await world.join(step.offered);
        return;
      case 'fault':
        world.happen(step.fault, new Set());
    }
  }

  /** Runs all operations to their end, with the fault among them; it kills none of their owners. */
  async #during(works: readonly Promise<void>[], during: FaultDuring, owners: readonly ModelPod[]): Promise<void> {
    const faulty = async (): Promise<void> => {
      if (during === undefined) return;
      for (let turn = 0; turn < during.turns; turn += 1) await turnOfLoop();
      this.#world.happen(during.fault, new Set(owners));
    };
    for (const result of await Promise.allSettled([...works, faulty()])) {
      if (result.status === 'rejected') throw result.reason;
    }
  }

  async #create(owner: ModelPod, name: string, options: SpillCreateOptions): Promise<void> {
    const spill = await owner.pod.store.create(name, options);
    this.#stores.push(new Stored(spill, owner, options));
    this.#world.watch(owner, spill.stats().epoch);
  }

  /** Writes by several writers at once; at most one of them is `write` of the store. */
  async #writeAll(stored: Stored, writings: readonly Writing[]): Promise<void> {
    await Promise.all(
      writings.map((writing, i) => this.#write(stored, { ...writing, further: writing.further || i > 0 })),
    );
  }

  async #write(stored: Stored, { further, how, runs }: Writing): Promise<void> {
    const number = further ? stored.writers.push([]) - 1 : 0;
    const fullBefore = stored.full;
    try {
      const writer = further ? stored.spill.writer() : undefined;
      try {
        for (const run of runs) {
          const records = stored.recordsOf(number, run);
          const batch = records.map((record) => Buffer.from(record));
          stored.writers[number]?.push(...batch);
          if (how === 'batch') await (writer ?? stored.spill).writeBatch(records);
          else if (how === 'vector') await (writer ?? stored.spill).writeBatch(vectorFromArray(batch, new Binary()));
          else if (how === 'stream' && writer !== undefined)
            await pipeline(Readable.from(records), writer, { end: false });
          else {
            for (const record of records) await (writer?.writeRecord(record) ?? stored.spill.write(record));
          }
        }
        if (writer !== undefined) await finished(writer.end());
      } catch (error) {
        writer?.destroy();
        throw error;
      }
      expect(fullBefore).toBe(false);
    } catch (error) {
      this.#full(stored, error);
    }
  }

  async #close(stored: Stored): Promise<void> {
    const { spill, options } = stored;
    const all = stored.writers.flat().length;
    try {
      expect((await spill.close()).records).toBe(all);
      expect(stored.full).toBe(false);
    } catch (error) {
      this.#full(stored, error);
    }
    const { closed, records, shares } = spill.stats();
    expect([closed, records <= all]).toEqual([true, true]);
    for (const { tier, bytes } of shares) {
      expect(bytes).toBeLessThanOrEqual(Number(tier === 'memory' ? options.memoryLimit : options.diskLimit));
    }
  }

  /** Checks that the error is SPILL_FULL, and that the owner did not have enough room. */
  #full(stored: Stored, error: unknown): void {
    if (!(error instanceof HedgeError) || error.code !== 'SPILL_FULL') throw error;
    stored.full = true;
    if (this.#world.faults > 0 || stored.options.copies === 2 || stored.options.memoryLimit !== 16 * MB) return;
    const writers = this.#stores.flatMap(({ writers }) => writers);
    const bytes = writers.flat().reduce((sum, { length }) => sum + length, 0);
    expect(bytes * 2 + writers.length * 64 * KB).toBeGreaterThan(2 * MB);
  }

  async #read(stored: Stored, { how, from, to, leave }: Reading): Promise<void> {
    const { records } = stored.spill.stats();
    const [first, last] = [Math.floor(Math.min(from, to) * records), Math.ceil(Math.max(from, to) * records)];
    const wanted = Math.ceil((last - first) * leave);
    const read: Buffer[] = [];
    try {
      await readInto(read, stored.spill, how, { from: first, to: last }, leave === 1 ? Infinity : wanted);
      expect(read.length).toBe(wanted);
    } catch (error) {
      this.#lost(stored, error, first + read.length, how);
    }
    stored.check(read, first, read.length === records);
    this.#kept.push({ views: read, copies: read.map((record) => Buffer.from(record)) });
  }

  /** Checks that the error names as many members as there are copies, each of which may have lost frames. */
  #lost({ owner, spill, options }: Stored, error: unknown, at: number, how: Reading['how']): void {
    if (!(error instanceof HedgeError) || !/SPILL_LOST|SPILL_CORRUPT/.test(error.code)) throw error;
    const { members, from, to } = error.details as { members: string[]; from: number; to: number };
    const { shares } = spill.stats();
    const missed = members.filter((address) => {
      const tiers = shares.filter(({ member }) => member.address === address).map(({ tier }) => tier);
      const holder = this.#world.named(address);
      return holder !== undefined && tiers.some((tier) => this.#world.misses(owner, holder, tier));
    });
    expect({ error: error.message, missed }).toEqual({ error: error.message, missed: members });
    expect([members.length, from < to]).toEqual([options.copies, true]);
    // A stream discards the records that it has read ahead when it fails.
    if (how !== 'stream') expect(Math.max(at, from)).toBe(at);
  }
}

function pick<T>(from: readonly T[], number: number): T {
  return from[number % from.length] as T;
}

describe('spilled data under random faults of pods', () => {
  it(
    'P1, P2: return each written record or an error that names it, stay within the budgets, and free everything',
    async () => {
      await fc.assert(
        fc.asyncProperty(history, (history) => History.run(history)),
        { numRuns: HISTORIES, interruptAfterTimeLimit: LIMIT_MS },
      );
    },
    LIMIT_MS + 90_000,
  );
});
