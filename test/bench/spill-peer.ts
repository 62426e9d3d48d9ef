import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { mkdir } from 'node:fs/promises';
import {
  ClusterService,
  HedgeModule,
  LeaderService,
  OnLeaderMessage,
  SpillStore,
  type SpilledData,
} from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';
import { answer } from './child.js';
import type { LoadShape } from './load.js';
import { LoopWatch } from './loop-delay.js';
import { roundOf, type Round } from './statistics.js';

/** One pod of a group that spills: the owner of stores, or a holder of their frames. */
const {
  BENCH_ADDRESS: address = '',
  BENCH_FOLDER: folder = '',
  BENCH_MEMORY: memory = '64MB',
  BENCH_DISK: disk = '0',
} = process.env;

@Controller()
class EchoController {
  @OnLeaderMessage('echo')
  echo(): string {
    return 'echo';
  }
}

@Module({
  imports: [
    HedgeModule.forRoot({
      group: 'bench',
      address,
      timing: 'local',
      backend: sqlite({ file: `${folder}/hedge.db` }),
      spill: { memory, disk, directory: `${folder}/spill` },
    }),
  ],
  controllers: [EchoController],
})
class PodModule {}

await mkdir(`${folder}/spill`, { recursive: true });

const app = await NestFactory.createApplicationContext(PodModule, { logger: ['error'] });
app.enableShutdownHooks();
const spill = app.get(SpillStore);
const leader = app.get(LeaderService);

const RECORD = Buffer.alloc(4_096, 'record');
/** The size of a store in one round. */
const RECORDS = (128 * 1024 * 1024) / RECORD.length;

async function write(store: SpilledData, records: number): Promise<number> {
  for (let written = 0; written < records; written += 1) await store.write(RECORD);
  await store.close();
  return records;
}

const commands = {
  members: () => app.get(ClusterService).members().length,
  memory: () => process.memoryUsage.rss(),
  /** Fills the memory of this pod for its own stores, so that later records go to other pods. */
  fillUp: async ({ bytes }: { bytes: number }) =>
    void (await write(await spill.create('ballast'), bytes / RECORD.length)),
  keep: async ({ name }: { name: string }): Promise<number> => {
    const store = await spill.create(name);
    await write(store, RECORDS);
    return new Set(store.stats().shares.map(({ member }) => member.address)).size;
  },
  write: async ({ seconds }: LoadShape): Promise<Round> => {
    const watch = new LoopWatch();
    while (watch.seconds < seconds) {
      await spill.use('written', {}, (store) => watch.time(() => write(store, RECORDS)));
    }
    return watch.round();
  },
  read: async ({ seconds, name }: LoadShape & { name: string }): Promise<Round> => {
    const watch = new LoopWatch();
    while (watch.seconds < seconds) {
      await watch.time(async () => {
        let records = 0;
        for await (const batch of spill.get(name)?.batches() ?? []) records += batch.numRows;
        return records;
      });
    }
    return watch.round();
  },
  /** Sends messages to the leader one by one, while records are spilled to other pods. */
  sendMeanwhile: async ({ seconds }: LoadShape): Promise<Round> => {
    const latencies: number[] = [];
    const spilling = new AbortController();
    const sends = (async () => {
      while (!spilling.signal.aborted) {
        const start = performance.now();
        await leader.send('echo', null);
        latencies.push(performance.now() - start);
      }
    })();
    await commands.write({ seconds, concurrency: 1 });
    spilling.abort();
    await sends;
    return roundOf(latencies, seconds);
  },
  /** Spills this amount at once, and returns the highest memory use of this pod. */
  spillMuch: async ({ bytes }: { bytes: number }): Promise<number> => {
    let most = 0;
    const look = setInterval(() => (most = Math.max(most, process.memoryUsage.rss())), 50);
    await spill.use('much', {}, (store) => write(store, bytes / RECORD.length));
    clearInterval(look);
    return most;
  },
};
export type SpillPeerCommands = typeof commands;
answer(commands);
