/**
 * Uses the disk of a pod in a process of its own, and prints the result as one line of JSON.
 *
 * Usage: local-disk-process.ts full|read-only|write DIRECTORY. For `full` and `read-only` the directory must be
 * the mount of a small file system, which is filled, or mounted read-only; `write` never ends.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../libs/hedge/src/common/clock.js';
import { SpillNode } from '../../libs/hedge/src/spill/node/spill-node.js';
import type { Reservation, SpillPart } from '../../libs/hedge/src/spill/node/storage.js';
import { FrameBuilder } from '../../libs/hedge/src/spill/records/frame-builder.js';
import { RecordViews } from '../../libs/hedge/src/spill/records/record-views.js';

const MB = 1024 * 1024;
const FRAME_BYTES = MB / 4;
const STORE = '0123456789abcdef0123456789abcdef';

const [what, directory = ''] = process.argv.slice(2);
const scratch = FrameBuilder.scratch(FRAME_BYTES);

async function main(): Promise<void> {
  const node = await openNode();
  const part = node.part({ store: STORE, epoch: 1, name: 'reports' }, { memory: 64 * MB, disk: 64 * MB });
  if (what === 'full') print(await fill(node, part));
  else if (what === 'read-only') print(await forbid(node, part));
  else await writeForever(part);
  await node.close();
}

function openNode(): Promise<SpillNode> {
  return SpillNode.open({ memory: 8 * MB, disk: 64 * MB, directory, minFreeDisk: 0, clock: systemClock });
}

/** Writes as much as fits, then reserves room that another file uses up. */
async function fill(node: SpillNode, part: SpillPart): Promise<object> {
  for (let sequence = 0; sequence < 4; sequence += 1) await put(part, sequence, reserve(part));
  const reserved = [4, 5].map((sequence) => ({ sequence, room: reserve(part) }));
  const ballast = outcome(() => appendFileSync(join(directory, 'ballast'), Buffer.alloc(4 * MB)));
  const puts = await Promise.all(reserved.map(({ sequence, room }) => outcome(() => put(part, sequence, room))));
  const read: number[] = [];
  for (let sequence = 0; sequence < 4; sequence += 1) {
    const frame = await part.read(sequence);
    if (RecordViews.of(frame).at(0).toString() === contentOf(sequence)) read.push(sequence);
    frame.lease.release();
  }
  const refusal = part.reserve('disk', FRAME_BYTES);
  return { ballast: await ballast, puts, read, refusal, frames: part.usage().disk.frames, free: node.free().disk };
}

async function forbid(node: SpillNode, part: SpillPart): Promise<object> {
  execFileSync('mount', ['-o', 'remount,ro', directory]);
  const put0 = await outcome(() => put(part, 0, reserve(part)));
  return { put: put0, free: node.free().disk, reopen: await outcome(openNode) };
}

async function writeForever(part: SpillPart): Promise<void> {
  for (let sequence = 0; ; sequence += 1) {
    await put(part, sequence, reserve(part));
    part.remove(sequence - 8);
    if (sequence === 16) print({ writing: true });
  }
}

function reserve(part: SpillPart): Reservation {
  const room = part.reserve('disk', FRAME_BYTES);
  if (!room.granted) throw new Error(`refused by ${room.by}`);
  return room;
}

async function put(part: SpillPart, sequence: number, room: Reservation): Promise<void> {
  const builder = new FrameBuilder(Buffer.allocUnsafe(FRAME_BYTES), scratch);
  builder.write(contentOf(sequence));
  await part.put(builder.seal({ store: STORE, epoch: 1, writer: 0, sequence, firstRecord: sequence }), room);
}

function contentOf(sequence: number): string {
  return String(sequence % 10).repeat(FRAME_BYTES - 1024);
}

/** The code of the error, or `done`. */
async function outcome(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'done';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

function print(event: object): void {
  writeSync(1, `${JSON.stringify(event)}\n`);
}

void main();
