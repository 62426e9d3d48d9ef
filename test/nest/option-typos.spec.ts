import { Logger } from '@nestjs/common';
import type { INestApplicationContext } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  ClusterService,
  JobsService,
  KvStore,
  LeaderCron,
  LeaderInterval,
  LeaderOnly,
  LeaderService,
  LockService,
  SemaphoreService,
  SpillStore,
  WithLock,
} from 'nestjs-hedge';
import { memory, memoryDatabase } from 'nestjs-hedge/memory';
import { spanner } from 'nestjs-hedge/spanner';
import { sqlite } from 'nestjs-hedge/sqlite';
import { MemoryNetwork } from 'nestjs-hedge/testing';
import { resolveOptions } from '../../libs/hedge/src/nest/validate.js';
import { Pods } from './apps.js';

Logger.overrideLogger(false);

/** Stands for a caller without types. */
function typo(name: string, others: object = {}): never {
  return { ...others, [name]: 1 } as never;
}

type Call = readonly [name: string, call: (app: INestApplicationContext) => unknown, meant: string];

const calls: readonly Call[] = [
  ['send', (app) => app.get(LeaderService).send('t', 1, typo('timeout')), 'timeoutMs'],
  ['sendStream', (app) => app.get(LeaderService).sendStream('t', [], typo('idleTimeout')), 'idleTimeoutMs'],
  ['broadcast', (app) => app.get(ClusterService).broadcast('t', 1, typo('skipself')), 'skipSelf'],
  ['broadcastStream', (app) => app.get(ClusterService).broadcastStream('t', [], typo('onyl')), 'only'],
  ['put', (app) => app.get(KvStore).put('k', 'v', typo('fence')), 'fenced'],
  ['putJson', (app) => app.get(KvStore).putJson('k', 1, typo('apend')), 'append'],
  ['history', (app) => app.get(KvStore).history('k', typo('limits')), 'limit'],
  ['keys', (app) => app.get(KvStore).keys('', typo('aftr')), 'after'],
  ['locks.acquire', (app) => app.get(LockService).acquire('l', typo('timeout')), 'timeoutMs'],
  ['locks.use', (app) => app.get(LockService).use('l', typo('waitMs'), () => 1), 'timeoutMs'],
  ['semaphores.get', (app) => app.get(SemaphoreService).get('s', typo('limits', { limit: 1 })), 'limit'],
  ['semaphores.get, without a limit', (app) => app.get(SemaphoreService).get('s', typo('limits')), 'limit'],
  ['semaphores.use', (app) => app.get(SemaphoreService).use('s', typo('permit', { limit: 1 }), () => 1), 'permits'],
  ['acquire', (app) => app.get(SemaphoreService).get('s', { limit: 1 }).acquire(typo('timeout')), 'timeoutMs'],
  ['tryAcquire', (app) => app.get(SemaphoreService).get('s', { limit: 1 }).tryAcquire(typo('sign')), 'signal'],
  ['resize', (app) => app.get(SemaphoreService).get('s', { limit: 1 }).resize(2, typo('timeoutMS')), 'timeoutMs'],
  ['jobs.history', (app) => app.get(JobsService).history('j', typo('lim')), 'limit'],
  ['jobs.list', (app) => app.get(JobsService).list(typo('nextTime')), 'nextTimes'],
  ['jobs.pause', (app) => app.get(JobsService).pause('j', typo('reasons')), 'reason'],
  ['jobs.runNow', (app) => app.get(JobsService).runNow('j', typo('timeout')), 'timeoutMs'],
  ['spill.create', (app) => app.get(SpillStore).create('s', typo('ttl')), 'ttlMs'],
  ['@LeaderCron', () => decorate(LeaderCron('@daily', typo('timezone'))), 'timeZone'],
  ['@LeaderInterval', () => decorate(LeaderInterval(1_000, typo('catchup'))), 'catchUp'],
  ['@LeaderInterval, another one', () => decorate(LeaderInterval(1_000, typo('jitter'))), 'jitterMs'],
  ['@LeaderOnly', () => decorate(LeaderOnly(typo('timeout', { forward: true }))), 'timeoutMs'],
  ['@WithLock', () => decorate(WithLock('l', typo('timeout')) as MethodDecorator), 'timeoutMs'],
  ['memory', () => memory(typo('databse')), 'database'],
  ['memoryDatabase', () => memoryDatabase(typo('clok')), 'clock'],
  ['sqlite', () => sqlite(typo('fiel', { file: 'x' })).create({ timeoutMs: 1 }), 'file'],
  ['spanner', () => spanner(typo('db', { databas: 'x' })), 'database'],
  ['MemoryNetwork', () => new MemoryNetwork(typo('clocks')), 'clock'],
  ['HedgeModule', () => resolveOptions(new Pods().pod(typo('adress'))), 'address'],
  ['spill.dir', () => resolveOptions(new Pods().pod({ spill: typo('dir') })), 'spill.directory'],
  ['shutdown.drain', () => resolveOptions(new Pods().pod({ shutdown: typo('drain') })), 'shutdown.drainMs'],
  ['HedgeModule, one level too high', () => resolveOptions(new Pods().pod(typo('drainMs'))), 'shutdown.drainMs'],
  [
    'HedgeModule, in other letter case',
    () => resolveOptions(new Pods().pod(typo('maxmessagebytes'))),
    'limits.maxMessageBytes',
  ],
  ['limits, one level too low', () => resolveOptions(new Pods().pod({ limits: typo('maxReruns') })), 'maxReruns'],
  ['spill, in the wrong object', () => resolveOptions(new Pods().pod({ spill: typo('totalMs') })), 'shutdown.totalMs'],
  ['timing.lease', () => resolveOptions(new Pods().pod({ timing: typo('lease') })), 'timing.leaseMs'],
];

function decorate(decorator: MethodDecorator): void {
  class Decorated {
    @decorator async run() {}
  }
  void Decorated;
}

describe('an unknown option is refused, and the error names the closest valid option', () => {
  let app: INestApplicationContext;
  beforeAll(async () => {
    app = await new Pods().start();
  });
  afterAll(() => app.close());

  it.each(calls)('in %s', async (_, call, meant) => {
    await expect((async () => call(app))()).rejects.toMatchObject({
      code: expect.stringMatching(/^INVALID_(ARGUMENT|OPTIONS)$/),
      message: expect.stringContaining(`Did you mean ${meant}?`),
    });
  });
});
