import { beforeEach, describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { FrameBuilder } from '../records/frame-builder.js';
import type { SpillFrame } from '../records/frame.js';
import { RecordViews } from '../records/record-views.js';
import { MIN_MEMORY, SpillNode } from './spill-node.js';
import type { PartId, SpillPart } from './storage.js';

const KB = 1024;
const UNBOUNDED = { memory: Infinity, disk: 0 };

let clock: VirtualClock;
let node: SpillNode;
let epoch: number;
beforeEach(async () => {
  clock = new VirtualClock();
  node = await SpillNode.open({ memory: MIN_MEMORY, disk: 0, directory: '', minFreeDisk: 0, clock });
  epoch = 0;
});

function newPart(): SpillPart {
  epoch += 1;
  return node.part({ store: '0123456789abcdef'.repeat(2), epoch, name: `s${epoch}` }, UNBOUNDED);
}

/** A frame of one record that repeats that letter. */
function build(
  into: Buffer,
  { store, epoch: storeEpoch }: PartId,
  sequence: number,
  letter: string,
  bytes: number,
): SpillFrame {
  const builder = new FrameBuilder(into, FrameBuilder.scratch(into.length));
  expect(builder.write(Buffer.alloc(bytes, letter))).toBe(true);
  return builder.seal({ store, epoch: storeEpoch, writer: 0, sequence, firstRecord: sequence });
}

/** Stores a frame as one of this pod's own stores. False when there is no room. */
async function putOwn(part: SpillPart, sequence: number, letter: string, bytes: number): Promise<boolean> {
  const buffer = await node.buffers.acquire();
  const frame = build(buffer.bytes, part.id, sequence, letter, bytes);
  const room = part.reserve('memory', frame.bytes.length);
  if (room.granted) await part.put(frame, room);
  buffer[room.granted ? 'detach' : 'release']();
  return room.granted;
}

/** Stores a frame as one of another pod, from a message. */
async function putForeign(part: SpillPart, sequence: number, letter: string, bytes: number): Promise<boolean> {
  const frame = build(Buffer.alloc(256 * KB + 5).subarray(5), part.id, sequence, letter, bytes);
  const room = part.reserve('memory', frame.bytes.length);
  if (room.granted) await part.put(frame, room);
  return room.granted;
}

async function fill(part: SpillPart): Promise<number> {
  for (let sequence = 0; ; sequence += 1) if (!(await putOwn(part, sequence, 'x', 250 * KB))) return sequence;
}

describe('the memory of frames', () => {
  it('is reused when its store is dropped, and freed when it is not needed', async () => {
    const first = newPart();
    await fill(first);
    const used = node.used().memory;
    await node.drop(first.id);
    expect(node.used().memory).toBe(0);
    const idle = node.idleBytes;
    expect(idle).toBeGreaterThanOrEqual(used);
    const second = newPart();
    await putOwn(second, 0, 'y', 250 * KB);
    expect(node.idleBytes).toBe(idle - 256 * KB);
    clock.advance(25_000);
    expect(node.idleBytes).toBe(0);
    expect(node.used().memory).toBe(256 * KB);
  });

  it('P2: that is idle is freed when another reservation needs the room', async () => {
    const first = newPart();
    await fill(first);
    await node.drop(first.id);
    const idle = node.idleBytes;
    const part = newPart();
    for (let sequence = 0; await putForeign(part, sequence, 'z', KB); sequence += 1) {
      expect(node.used().memory + node.idleBytes).toBeLessThanOrEqual(MIN_MEMORY);
    }
    expect(idle).toBeGreaterThan(0);
    expect(node.idleBytes).toBeLessThan(idle);
  });

  it('P2: that is reserved or read when its store is dropped counts until it is released', async () => {
    const first = newPart();
    await fill(first);
    await node.drop(first.id);
    const part = newPart();
    await putOwn(part, 0, 'y', 250 * KB);
    const room = part.reserve('memory', 250 * KB);
    const { lease } = await part.read(0);
    const before = node.idleBytes;
    await node.drop(part.id);
    expect(node.used().memory).toBe(2 * 256 * KB);
    lease.release();
    expect(node.used().memory).toBe(256 * KB);
    if (room.granted) room.release();
    expect(node.used().memory).toBe(0);
    expect(node.idleBytes).toBe(before + 2 * 256 * KB);
  });

  type Step =
    | { type: 'own' | 'foreign'; store: number; bytes: number }
    | { type: 'keep' | 'look'; store: number; index: number }
    | { type: 'remove'; store: number; index: number }
    | { type: 'drop'; store: number };
  const store = fc.nat(2);
  const index = fc.nat(20);
  const steps: fc.Arbitrary<Step[]> = fc.array(
    fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          type: fc.constantFrom('own' as const, 'foreign' as const),
          store,
          bytes: fc.constantFrom(KB, 150 * KB, 200 * KB, 250 * KB),
        }),
      },
      { weight: 3, arbitrary: fc.record({ type: fc.constantFrom('keep' as const, 'look' as const), store, index }) },
      { weight: 2, arbitrary: fc.record({ type: fc.constant('remove' as const), store, index }) },
      { weight: 1, arbitrary: fc.record({ type: fc.constant('drop' as const), store }) },
    ),
    { minLength: 20, maxLength: 60 },
  );

  it('P1, P2: is never reused while a reader may use it, and never exceeds the budget', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (history) => {
        const parts = [newPart(), newPart(), newPart()];
        const there = parts.map(() => new Map<number, string>());
        const kept: { record: Buffer; letter: string }[] = [];
        const open: { record: Buffer; letter: string; end(): void }[] = [];
        let sequence = 0;
        for (const step of history) {
          const part = parts[step.store] as SpillPart;
          const frames = there[step.store] as Map<number, string>;
          switch (step.type) {
            case 'own':
            case 'foreign': {
              sequence += 1;
              const put = step.type === 'own' ? putOwn : putForeign;
              const letter = String.fromCharCode(33 + (sequence % 90));
              if (await put(part, sequence, letter, step.bytes)) frames.set(sequence, letter);
              break;
            }
            case 'keep':
            case 'look': {
              const [at, frameLetter] = oneOf(frames, step.index);
              if (at === undefined || frameLetter === undefined) break;
              const frame = await part.read(at);
              const record = RecordViews.of(frame).at(0);
              // Some leases end after others began; a detached one is kept forever.
              if (step.type === 'look') open.push({ record, letter: frameLetter, end: frame.lease.release });
              else {
                frame.lease.detach();
                kept.push({ record, letter: frameLetter });
              }
              if (open.length > 3) open.shift()?.end();
              break;
            }
            case 'remove': {
              const [at] = oneOf(frames, step.index);
              if (at === undefined) break;
              part.remove(at);
              frames.delete(at);
              break;
            }
            case 'drop':
              await node.drop(part.id);
              parts[step.store] = newPart();
              frames.clear();
          }
          expect(node.used().memory + node.idleBytes).toBeLessThanOrEqual(MIN_MEMORY);
          for (const { record, letter: is } of [...kept, ...open]) expect(isAll(record, is)).toBe(true);
        }
        for (const [at, frames] of there.entries()) {
          for (const [number, is] of frames) {
            const frame = await (parts[at] as SpillPart).read(number);
            expect(isAll(RecordViews.of(frame).at(0), is)).toBe(true);
            frame.lease.release();
          }
        }
        for (const { end } of open) end();
        await Promise.all(parts.map(({ id }) => node.drop(id)));
        expect(node.used().memory).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});

function oneOf<K, V>(entries: ReadonlyMap<K, V>, index: number): [K, V] | [] {
  return [...entries][index % Math.max(1, entries.size)] ?? [];
}

/** Its ends and its middle: a write over the buffer changes all of these. */
function isAll(record: Buffer, letter: string): boolean {
  const code = letter.charCodeAt(0);
  return [0, record.length >> 1, record.length - 1].every((at) => record[at] === code);
}
