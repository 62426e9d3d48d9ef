// A pod: a Nest app on the package `nestjs-hedge` that is installed beside it. It runs one command at a time.
//
// Usage: pod.mjs NAME sqlite FILE | pod.mjs NAME spanner DATABASE
import 'reflect-metadata';
import { Controller, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Payload } from '@nestjs/microservices';
import {
  ClusterService,
  HedgeModule,
  JobsService,
  KvStore,
  LeaderInterval,
  LeaderService,
  LockService,
  OnBroadcast,
  OnLeaderMessage,
  SemaphoreService,
  SpillStore,
} from 'nestjs-hedge';
import { spanner } from 'nestjs-hedge/spanner';
import { sqlite } from 'nestjs-hedge/sqlite';

const [name = '', driver = '', target = ''] = process.argv.slice(2);

@Controller()
class Handlers {
  @OnLeaderMessage('greet')
  greet(@Payload() from: string) {
    return `${name} greets ${from}`;
  }

  @OnBroadcast('who')
  who() {
    return name;
  }
}

@Injectable()
class Jobs {
  @LeaderInterval(1_000, { name: 'tick' })
  tick() {
    return undefined;
  }
}

@Module({
  imports: [
    HedgeModule.forRoot({
      group: 'upgrade',
      address: '127.0.0.1:0',
      timing: 'local',
      backend: driver === 'sqlite' ? sqlite({ file: target }) : spanner({ database: target }),
    }),
  ],
  controllers: [Handlers],
  providers: [Jobs],
})
class PodModule {}

const app = await NestFactory.create(PodModule, { logger: false });
await app.listen(0, '127.0.0.1');
const leader = app.get(LeaderService);
const cluster = app.get(ClusterService);
const kv = app.get(KvStore);
const locks = app.get(LockService);
const semaphore = app.get(SemaphoreService).get('reports', { limit: 1 });
const held: { release(): Promise<void> }[] = [];

const COMMANDS = {
  state: async () => ({ leads: leader.isLeader(), members: cluster.members().length }),
  send: () => leader.send('greet', name),
  broadcast: async () => (await cluster.broadcast('who', {})).map(({ value, error }) => value ?? String(error)),
  put: (key: string, value: string) => kv.put(key, value).then(() => undefined),
  get: async (key: string) => (await kv.get(key))?.value,
  lock: async () => void held.push(await locks.acquire('invoices')),
  lockIsFree: async () => {
    const lock = await locks.tryAcquire('invoices');
    await lock?.release();
    return lock !== undefined;
  },
  permit: async () => void held.push(await semaphore.acquire()),
  permitIsFree: async () => {
    const permit = await semaphore.tryAcquire();
    await permit?.release();
    return permit !== undefined;
  },
  release: async () => {
    for (const one of held.splice(0)) await one.release();
  },
  firings: async () => {
    const entries = await app.get(JobsService).history('tick');
    return entries.filter(({ event }) => event === 'done').map(({ fireTime }) => fireTime.getTime());
  },
  listJobs: async () => (await app.get(JobsService).list()).map(({ name }) => name),
  spill: async () => {
    const data = await app.get(SpillStore).create('import', { copies: 2 });
    const written = Array.from({ length: 2_000 }, (_, i) => `record ${i} of ${name} ${'x'.repeat(1_000)}`);
    for (const record of written) await data.write(record);
    const { shares } = await data.close();
    let same = 0;
    for await (const record of data.read()) if (Buffer.from(record).toString() === written[same]) same += 1;
    await data.drop();
    return { same, members: new Set(shares.map(({ member }) => member.address)).size };
  },
  stop: () => app.close(),
};

export type Command = keyof typeof COMMANDS;

const run = (command: Command, args: string[]): Promise<unknown> => {
  const perform: (...args: string[]) => Promise<unknown> = COMMANDS[command];
  return perform(...args);
};

process.on('message', ([command, ...args]: [Command, ...string[]]) => {
  run(command, args).then(
    (done) => process.send?.({ done }),
    (failed: unknown) => process.send?.({ failed: String(failed) }),
  );
});
// The channel to the test keeps this process alive. It ends when the test ends.
process.on('disconnect', () => process.exit());
process.send?.('started');
