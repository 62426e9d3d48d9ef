import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Binary, makeData, makeVector } from 'apache-arrow';
import { mkdir } from 'node:fs/promises';
import { HedgeModule, SpillStore, type SpilledData } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';
import { answer } from './child.js';
import { LoopWatch } from './loop-delay.js';
import type { LoadShape } from './load.js';
import { CHUNK_BYTES, flushFiles, forgetFiles, readRaw, writeRaw } from './raw-disk.js';
import type { Round } from './statistics.js';

/** One pod, which spills to its own RAM and disk, or measures the raw speed of memory and disk. */
const { BENCH_ADDRESS: address = '', BENCH_FOLDER: folder = '' } = process.env;
const directory = `${folder}/spill`;
await mkdir(directory);

@Module({
  imports: [
    HedgeModule.forRoot({
      group: 'bench',
      address,
      timing: 'local',
      backend: sqlite({ file: `${folder}/hedge.db` }),
      spill: { memory: '640MB', disk: '2GB', directory },
    }),
  ],
})
class PodModule {}

const app = await NestFactory.createApplicationContext(PodModule, { logger: ['error'] });
app.enableShutdownHooks();
const spill = app.get(SpillStore);

/** The size of a store in one round. A disk needs more data for a stable rate. */
const MEMORY_BYTES = 256 * 1024 * 1024;
const DISK_BYTES = 512 * 1024 * 1024;
const DISK_CHUNKS = DISK_BYTES / CHUNK_BYTES;

const SMALL = Buffer.alloc(100, 'small');
const LARGE = Buffer.alloc(4_096, 'large');
const SMALL_RECORDS = Math.floor(MEMORY_BYTES / SMALL.length);
const LARGE_RECORDS = MEMORY_BYTES / LARGE.length;
const DISK_RECORDS = DISK_BYTES / LARGE.length;

const BATCH_RECORDS = 10_000;
const BATCH = makeVector(
  makeData({
    type: new Binary(),
    length: BATCH_RECORDS,
    nullCount: 0,
    valueOffsets: Int32Array.from({ length: BATCH_RECORDS + 1 }, (_, index) => index * SMALL.length),
    data: Buffer.alloc(BATCH_RECORDS * SMALL.length, 'batch'),
  }),
);

const IN_MEMORY = { diskLimit: 0 };
const ON_DISK = { memoryLimit: 0 };
type Tier = typeof IN_MEMORY | typeof ON_DISK;

/** Fills a store and drops it, again and again. */
async function writing(tier: Tier, seconds: number, write: (store: SpilledData) => Promise<number>): Promise<Round> {
  const watch = new LoopWatch();
  while (watch.seconds < seconds) {
    await spill.use('written', tier, (store) =>
      watch.time(async () => {
        const records = await write(store);
        await store.close();
        if (tier === ON_DISK) await flushFiles(directory);
        return records;
      }),
    );
  }
  return watch.round();
}

/** Reads a store again and again. Reads frames on disk from the disk. */
async function reading(tier: Tier, record: Buffer, seconds: number, read: (store: SpilledData) => Promise<number>) {
  const watch = new LoopWatch();
  await spill.use('read', tier, async (store) => {
    await writeEach(store, record, tier === ON_DISK ? DISK_RECORDS : Math.floor(MEMORY_BYTES / record.length));
    await store.close();
    await flushFiles(directory);
    while (watch.seconds < seconds) {
      await forgetFiles(directory);
      await watch.time(() => read(store));
    }
  });
  return watch.round();
}

async function writeEach(store: SpilledData, record: Buffer, records: number): Promise<number> {
  for (let written = 0; written < records; written += 1) await store.write(record);
  return records;
}

async function writeBatches(store: SpilledData): Promise<number> {
  const batches = Math.floor(SMALL_RECORDS / BATCH_RECORDS);
  for (let written = 0; written < batches; written += 1) await store.writeBatch(BATCH);
  return batches * BATCH_RECORDS;
}

/** Copies the read bytes, as the baseline does: without touching the bytes, a read has no meaningful speed. */
async function copyBatches(store: SpilledData): Promise<number> {
  let records = 0;
  for await (const batch of store.batches()) {
    const values = batch.getChild('record')?.data[0]?.values ?? new Uint8Array();
    const copy = Buffer.allocUnsafeSlow(values.length);
    copy.set(values);
    records += batch.numRows;
  }
  return records;
}

/** Bytes from the disk were copied already. */
async function countBatches(store: SpilledData): Promise<number> {
  let records = 0;
  for await (const batch of store.batches()) records += batch.numRows;
  return records;
}

async function readEach(store: SpilledData): Promise<number> {
  let records = 0;
  for await (const record of store.read()) records += record.length === 0 ? 0 : 1;
  return records;
}

/** Copies as many bytes as a store holds, each piece into a new Buffer. */
async function copyMemory({ seconds }: LoadShape): Promise<Round> {
  const source = Array.from({ length: MEMORY_BYTES / CHUNK_BYTES }, () => Buffer.alloc(CHUNK_BYTES, 'source'));
  const watch = new LoopWatch();
  while (watch.seconds < seconds) {
    await watch.time(async () => {
      for (const chunk of source) {
        const copy = Buffer.allocUnsafeSlow(CHUNK_BYTES);
        copy.set(chunk);
      }
      return source.length;
    });
  }
  return watch.round();
}

async function writeDisk({ seconds }: LoadShape): Promise<Round> {
  const watch = new LoopWatch();
  while (watch.seconds < seconds) {
    const written: Awaited<ReturnType<typeof writeRaw>>[] = [];
    await watch.time(async () => {
      written.push(await writeRaw(directory, DISK_CHUNKS));
      return DISK_CHUNKS;
    });
    for (const file of written) await file.close();
  }
  return watch.round();
}

async function readDisk({ seconds }: LoadShape): Promise<Round> {
  const watch = new LoopWatch();
  const file = await writeRaw(directory, DISK_CHUNKS);
  while (watch.seconds < seconds) {
    await forgetFiles(directory);
    await watch.time(async () => {
      await readRaw(file, DISK_CHUNKS);
      return DISK_CHUNKS;
    });
  }
  await file.close();
  return watch.round();
}

const commands = {
  memcpy: copyMemory,
  'disk-write': writeDisk,
  'disk-read': readDisk,
  'spill-ram-records': ({ seconds }: LoadShape) =>
    writing(IN_MEMORY, seconds, (store) => writeEach(store, SMALL, SMALL_RECORDS)),
  'spill-ram-batches': ({ seconds }: LoadShape) => writing(IN_MEMORY, seconds, writeBatches),
  'spill-ram-4k': ({ seconds }: LoadShape) =>
    writing(IN_MEMORY, seconds, (store) => writeEach(store, LARGE, LARGE_RECORDS)),
  'spill-read-batches': ({ seconds }: LoadShape) => reading(IN_MEMORY, LARGE, seconds, copyBatches),
  'spill-read-records': ({ seconds }: LoadShape) => reading(IN_MEMORY, SMALL, seconds, readEach),
  'spill-disk-write': ({ seconds }: LoadShape) =>
    writing(ON_DISK, seconds, (store) => writeEach(store, LARGE, DISK_RECORDS)),
  'spill-disk-read': ({ seconds }: LoadShape) => reading(ON_DISK, LARGE, seconds, countBatches),
};
export type SpillPodCommands = typeof commands;
answer(commands);
