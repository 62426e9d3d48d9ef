import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import {
  chmod,
  mkdir,
  mkdtemp,
  open,
  readFile,
  readdir,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { systemClock } from '../../common/clock.js';
import { FrameBuilder } from '../records/frame-builder.js';
import type { SpillFrame } from '../records/frame.js';
import { RecordViews } from '../records/record-views.js';
import { NamelessFiles, type DataDisk } from './data-file.js';
import { MIN_MEMORY, SpillNode, type SpillNodeOptions } from './spill-node.js';
import type { SpillPart, SpillTier } from './storage.js';

const KB = 1024;
const MB = 1024 * KB;
const STORE = '0123456789abcdef0123456789abcdef';
const scratch = FrameBuilder.scratch(MB);

let directory: string;
let nodes: SpillNode[];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hedge-spill-spec-'));
  nodes = [];
});
afterEach(async () => {
  await Promise.all(nodes.map((node) => node.close()));
  await rm(directory, { recursive: true, force: true });
});

async function openNode(options: Partial<SpillNodeOptions> = {}): Promise<SpillNode> {
  const defaults = { memory: 8 * MB, disk: 8 * MB, directory, minFreeDisk: 0, clock: systemClock };
  const node = await SpillNode.open({ ...defaults, ...options });
  nodes.push(node);
  return node;
}

function partOf(node: SpillNode, limits = { memory: 8 * MB, disk: 8 * MB }): SpillPart {
  return node.part({ store: STORE, epoch: 1, name: 'reports' }, limits);
}

/** A frame of about that many bytes, at the front of a buffer of the usual size. */
function frameOf(sequence: number, bytes: number): SpillFrame {
  const builder = new FrameBuilder(Buffer.alloc(MB), scratch);
  builder.write(`record ${sequence}:`.padEnd(bytes, '.'));
  return builder.seal({ store: STORE, epoch: 1, writer: 0, sequence, firstRecord: 10 * sequence });
}

async function put(part: SpillPart, tier: SpillTier, frame: SpillFrame): Promise<void> {
  const room = part.reserve(tier, frame.bytes.length);
  if (!room.granted) throw new Error(`refused by ${room.by}`);
  await part.put(frame, room);
}

/** Linux lists open files there; a file without a name is found nowhere else. */
const onLinux = process.platform === 'linux' ? it : it.skip;

/** Opens the only file without a name that this process has in the directory. */
async function openNameless(): Promise<Awaited<ReturnType<typeof open>>> {
  for (const fd of await readdir('/proc/self/fd')) {
    const target = await readlink(`/proc/self/fd/${fd}`).catch(() => '');
    if (target.startsWith(directory)) return open(`/proc/self/fd/${fd}`, 'r+');
  }
  throw new Error('no open file in the directory');
}

describe('a pod', () => {
  it('warns at the start when it offers more memory than there is RAM', async () => {
    const warnings: string[] = [];
    const logger = { warn: (message: string): void => void warnings.push(message) };
    await openNode({ memory: 64 * MB, ram: 64 * MB, logger });
    expect(warnings).toEqual([]);
    await openNode({ memory: 2 ** 40, ram: 64 * MB, logger });
    expect(warnings).toEqual([expect.stringMatching(/^`spill\.memory` is 1048576 MB, but .* has 64 MB of RAM/)]);
    await openNode({ memory: 2 ** 50, logger });
    expect(warnings).toHaveLength(2);
  });
});

describe('a frame on this pod', () => {
  it.each<SpillTier>(['memory', 'disk'])('P1: is read from %s unchanged, any number of times', async (tier) => {
    const part = partOf(await openNode());
    for (const sequence of [0, 1, 2]) await put(part, tier, frameOf(sequence, 300 * KB));
    for (const sequence of [2, 0, 2]) {
      const { header, bytes, lease } = await part.read(sequence);
      expect(header).toEqual(frameOf(sequence, 300 * KB).header);
      expect(RecordViews.of({ header, bytes }).at(0).toString()).toMatch(`record ${sequence}:...`);
      lease.release();
    }
    expect(part.usage()[tier]).toEqual({ frames: 3, records: 3, bytes: 3 * 304 * KB });
  });

  it('P2: that fills little of its buffer is copied, so that it uses no more bytes than are counted', async () => {
    const part = partOf(await openNode());
    await put(part, 'memory', frameOf(0, 100));
    await put(part, 'memory', frameOf(1, MB - KB));
    const [small, large] = [await part.read(0), await part.read(1)];
    expect(small.bytes.buffer.byteLength).toBe(small.bytes.length);
    expect(large.bytes.buffer.byteLength).toBe(MB);
    expect(part.usage().memory.bytes).toBe(4 * KB + MB);
  });

  it('is kept once when it is put several times, also at the same time', async () => {
    const part = partOf(await openNode());
    await Promise.all([put(part, 'disk', frameOf(0, KB)), put(part, 'disk', frameOf(0, KB))]);
    await put(part, 'memory', frameOf(0, KB));
    expect(part.usage()).toMatchObject({ memory: { frames: 0, bytes: 0 }, disk: { frames: 1 } });
  });

  it('that is missing fails with SPILL_LOST, and after a drop with SPILL_UNKNOWN', async () => {
    const node = await openNode();
    const part = partOf(node);
    await put(part, 'disk', frameOf(0, KB));
    await expect(part.read(1)).rejects.toMatchObject({
      code: 'SPILL_LOST',
      message: expect.stringContaining('reports'),
    });
    await node.drop(part.id);
    const unknown = { code: 'SPILL_UNKNOWN', message: expect.stringContaining('reports') };
    await expect(part.read(0)).rejects.toMatchObject(unknown);
    expect(() => part.reserve('memory', 1)).toThrow(expect.objectContaining(unknown));
    expect(partOf(node).has(0)).toBe(false);
  });

  it('that is put during a drop of its store leaves no bytes in use', async () => {
    const node = await openNode();
    const part = partOf(node);
    const late = Promise.all([0, 1, 2].map((sequence) => put(part, 'disk', frameOf(sequence, 500 * KB))));
    const dropped = node.drop(part.id);
    await expect(late).rejects.toMatchObject({ code: 'SPILL_UNKNOWN' });
    await dropped;
    expect(node.used()).toEqual({ memory: 0, disk: 0 });
  });
});

describe('the budgets of a pod (P2)', () => {
  it('refuse a reservation beyond them or the limits of the store, with the free bytes', async () => {
    const node = await openNode({ memory: MIN_MEMORY, disk: MB });
    const part = partOf(node, { memory: MB, disk: 8 * MB });
    expect(part.reserve('memory', MB + 1)).toMatchObject({ granted: false, by: 'store-limit' });
    expect(partOf(node).reserve('disk', MB + 1)).toEqual({
      granted: false,
      by: 'node-budget',
      free: { memory: MB, disk: MB },
    });
  });

  it('keep a reservation until it is used or released once', async () => {
    const node = await openNode();
    const part = partOf(node);
    for (const tier of ['memory', 'disk'] as const) {
      const before = node.free()[tier];
      const room = part.reserve(tier, 2 * MB);
      expect(node.free()[tier]).toBe(before - 2 * MB);
      if (!room.granted) throw new Error('refused');
      room.release();
      room.release();
      await expect(part.put(frameOf(0, KB), room)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      expect(part.reserve(tier, before).granted).toBe(true);
    }
  });

  it('are free again after a drop, also when a reservation is released late', async () => {
    const node = await openNode();
    const part = partOf(node);
    const free = node.free().memory;
    const rooms = (['memory', 'disk'] as const).map((tier) => part.reserve(tier, MB));
    await put(part, 'memory', frameOf(0, KB));
    await node.drop(part.id);
    for (const room of rooms) if (room.granted) room.release();
    expect(node.used()).toEqual({ memory: 0, disk: 0 });
    expect(node.free().memory).toBe(free);
  });

  it('refuse a frame that is larger than its reservation', async () => {
    const node = await openNode();
    const room = partOf(node).reserve('disk', 4 * KB);
    if (!room.granted) throw new Error('refused');
    await expect(partOf(node).put(frameOf(0, 5 * KB), room)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(`its reservation has ${room.bytes}.`),
    });
    expect(partOf(node).has(0)).toBe(false);
  });

  it('reuse the room of a removed frame', async () => {
    const part = partOf(await openNode({ disk: MB }));
    await put(part, 'disk', frameOf(0, MB - KB));
    expect(part.reserve('disk', KB)).toMatchObject({ by: 'node-budget' });
    part.remove(0);
    await put(part, 'disk', frameOf(1, MB - KB));
    expect(part.usage().disk).toEqual({ frames: 1, records: 1, bytes: MB });
    expect((await part.read(1)).header.sequence).toBe(1);
  });

  it('are fewer than offered, with a warning, when the volume has less room', async () => {
    const warnings: string[] = [];
    const logger = { warn: (message: string): void => void warnings.push(message) };
    const files = Object.assign(new NamelessFiles(directory), { free: async () => 100 * MB });
    await openNode({ files, disk: 90 * MB, minFreeDisk: 10 * MB, logger });
    expect(warnings).toEqual([]);
    await openNode({ files, disk: 91 * MB, minFreeDisk: 10 * MB, logger });
    expect(warnings).toEqual([expect.stringMatching(/^`spill\.disk` is 91 MB, but .* has 90 MB free above/)]);
  });

  it('leave the floor of free disk', async () => {
    const files: DataDisk = new NamelessFiles(directory);
    const node = await openNode({ minFreeDisk: (await files.free()) + 1024 * MB });
    expect(node.free().disk).toBe(0);
    expect(partOf(node).reserve('disk', KB)).toMatchObject({ granted: false, by: 'free-disk-floor' });
    expect(partOf(node).reserve('memory', KB)).toMatchObject({ granted: true });
  });
});

describe('the files of a pod', () => {
  onLinux('have no name, and had access for their owner only while they had one', async () => {
    const part = partOf(await openNode());
    await put(part, 'disk', frameOf(0, KB));
    expect(await readdir(directory)).toEqual([]);
    const file = await openNameless();
    expect((await file.stat()).mode & 0o777).toBe(0o600);
    await file.close();
  });

  it('of a killed process are removed, and no others', async () => {
    await writeFile(join(directory, `hedge-spill-${randomUUID()}`), 'left');
    await mkdir(join(directory, 'hedge-spill-notes'));
    await openNode();
    expect(await readdir(directory)).toEqual(['hedge-spill-notes']);
  });

  it('are in a directory that is created with access for the owner only', async () => {
    const made = join(directory, 'deep', 'er');
    await openNode({ directory: made });
    expect((await stat(made)).mode & 0o777).toBe(0o700);
  });

  onLinux.each([
    ['flipped', async (file: Awaited<ReturnType<typeof open>>) => void (await file.write('x', 100_000))],
    ['cut off', async (file: Awaited<ReturnType<typeof open>>) => file.truncate(300_000)],
    ['emptied', async (file: Awaited<ReturnType<typeof open>>) => file.truncate(0)],
  ])('P1: fail a read with an error that names store and records when their bytes are %s', async (_, damage) => {
    const part = partOf(await openNode());
    await put(part, 'disk', frameOf(3, 400 * KB));
    const file = await openNameless();
    await damage(file);
    await file.close();
    await expect(part.read(3)).rejects.toMatchObject({
      code: 'SPILL_CORRUPT',
      message: expect.stringContaining("Records 30 to 30 of spilled data 'reports'"),
      details: { store: 'reports', from: 30, to: 31 },
    });
  });

  onLinux('P1: fail a read when one frame is in the place of another', async () => {
    const part = partOf(await openNode());
    for (const sequence of [0, 1]) await put(part, 'disk', frameOf(sequence, KB));
    const file = await openNameless();
    const first = Buffer.alloc(8 * KB);
    await file.read(first, 0, 2 * KB, 0);
    await file.write(first, 0, 4 * KB, 4 * KB);
    await file.close();
    await expect(part.read(1)).rejects.toMatchObject({ code: 'SPILL_CORRUPT' });
  });

  it('are neither created nor removed behind a symbolic link', async () => {
    const elsewhere = join(directory, 'elsewhere');
    const left = join(elsewhere, `hedge-spill-${randomUUID()}`);
    await mkdir(elsewhere);
    await writeFile(left, 'precious');
    for (const target of [elsewhere, join(directory, 'nowhere')]) {
      const link = join(directory, `to-${basename(target)}`);
      await symlink(target, link);
      await expect(openNode({ directory: link })).rejects.toMatchObject({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining('symbolic link'),
      });
    }
    expect(await readFile(left, 'utf8')).toBe('precious');
    expect((await readdir(directory)).sort()).toEqual(['elsewhere', 'to-elsewhere', 'to-nowhere']);
  });

  it('with such a name are not removed when they belong to another user or are no files', async () => {
    const link = join(directory, `hedge-spill-${randomUUID()}`);
    await symlink('anywhere', link);
    await openNode();
    expect(await readdir(directory)).toEqual([basename(link)]);
  });

  it('P2: free their room also when close fails', async () => {
    const files = new NamelessFiles(directory);
    const failing: DataDisk = {
      prepare: () => files.prepare(),
      free: () => files.free(),
      create: async () => {
        const file = await files.create();
        const close = async (): Promise<never> => {
          await file.close();
          throw new Error('EIO');
        };
        return { read: file.read.bind(file), write: file.write.bind(file), close };
      },
    };
    const node = await openNode({ files: failing });
    await put(partOf(node), 'disk', frameOf(0, KB));
    await expect(node.drop({ store: STORE, epoch: 1, name: 'reports' })).rejects.toThrow('EIO');
    expect(node.used().disk).toBe(0);
  });

  it('are not created by a pod that offers no disk', async () => {
    const node = await openNode({ disk: 0, directory: join(directory, 'none') });
    expect(node.free().disk).toBe(0);
    expect(partOf(node).reserve('disk', KB)).toMatchObject({ granted: false, by: 'node-budget' });
    expect(await readdir(directory)).toEqual([]);
  });
});

describe('invalid options of a pod', () => {
  it('fail the start: a directory that cannot be created', async () => {
    const file = join(directory, 'file');
    await writeFile(file, '');
    await expect(openNode({ directory: file })).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('spill.directory'),
    });
  });

  const asRoot = process.getuid?.() === 0 ? it.skip : it;
  asRoot('fail the start: a directory that cannot be written', async () => {
    await chmod(directory, 0o500);
    await expect(openNode()).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
  });

  it('fail the start: too little memory for a few frames', async () => {
    await expect(openNode({ memory: MIN_MEMORY - 1 })).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
  });
});
