import { describe, expect, it } from '@jest/globals';
import type { DataDisk } from './data-file.js';
import { DiskSpace } from './disk-space.js';

const MB = 1024 * 1024;

/** A file system with `free` bytes, or one that fails, and a clock at `time`. */
class Machine implements Pick<DataDisk, 'free'> {
  time = 0;
  bytes = 100 * MB;
  asked = 0;
  broken = false;
  readonly space: DiskSpace;

  constructor(floor: number) {
    const clock = { now: () => ({ mono: this.time, wall: 0 }), after: () => () => {} };
    this.space = new DiskSpace({ free: () => this.free() } as DataDisk, floor, clock);
  }

  async free(): Promise<number> {
    this.asked += 1;
    if (this.broken) throw new Error('EIO');
    return this.bytes;
  }
}

describe('DiskSpace', () => {
  it('subtracts reserved bytes, and bytes written since the last `statfs`', async () => {
    const { space } = new Machine(20 * MB);
    await space.refresh();
    space.reserve(30 * MB);
    expect(space.free).toBe(50 * MB);
    space.settle(30 * MB, true);
    expect(space.free).toBe(50 * MB);
    space.reserve(10 * MB);
    space.settle(10 * MB, false);
    expect(space.free).toBe(50 * MB);
  });

  it('calls `statfs` again after a while, and after many bytes were written', async () => {
    const machine = new Machine(20 * MB);
    await machine.space.refresh();
    expect(await machine.space.allows()).toBe(true);
    expect(machine.asked).toBe(1);
    machine.bytes = 10 * MB;
    machine.time += 1_000;
    expect(await machine.space.allows()).toBe(false);
    expect(machine.space.free).toBe(0);

    machine.bytes = 200 * MB;
    machine.time += 1_000;
    expect(await machine.space.allows()).toBe(true);
    machine.space.reserve(64 * MB);
    machine.space.settle(64 * MB, true);
    machine.bytes = 60 * MB;
    expect(await machine.space.allows()).toBe(true);
    expect(machine.space.free).toBe(40 * MB);
  });

  it('has no free bytes for a while after a failure, then tries again', async () => {
    const machine = new Machine(0);
    machine.broken = true;
    await machine.space.refresh();
    expect([machine.space.failing, machine.space.free, await machine.space.allows()]).toEqual([true, 0, false]);
    machine.broken = false;
    machine.time += 3_000;
    expect(await machine.space.allows()).toBe(true);
    machine.space.failed();
    expect(machine.space.free).toBe(0);
  });
});
