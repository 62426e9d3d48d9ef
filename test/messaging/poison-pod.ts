/**
 * A pod whose handler ends its process or blocks for longer than the lease, or a client that sends to it and prints the
 * outcome and its log.
 *
 * Usage: poison-pod.ts FILE member|client [TOPIC] [MAX_RERUNS]
 */
import 'reflect-metadata';
import { ConsoleLogger, Injectable, Module } from '@nestjs/common';
import { Ctx } from '@nestjs/microservices';
import { NestFactory } from '@nestjs/core';
import { HedgeContext, HedgeError, HedgeModule, type HedgeMode, LeaderService, OnLeaderMessage } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';

export type PodReport =
  | { readonly type: 'leads' }
  | { readonly type: 'ran'; readonly requestId: string; readonly attempt: number }
  | { readonly type: 'ended'; readonly code: string; readonly message: string; readonly details: object }
  | { readonly type: 'log'; readonly line: string };

const [file = '', mode = 'member', topic = '', maxReruns = ''] = process.argv.slice(2);
const report = (event: PodReport): void => void process.send?.(event);

@Injectable()
class Handlers {
  @OnLeaderMessage('throws')
  throws(@Ctx() { requestId, attempt }: HedgeContext) {
    process.send?.({ type: 'ran', requestId, attempt } satisfies PodReport, () => {
      setImmediate(() => {
        throw new Error('out of its promise');
      });
    });
    return new Promise(() => undefined);
  }

  @OnLeaderMessage('blocks')
  blocks(@Ctx() { requestId, attempt }: HedgeContext) {
    process.send?.({ type: 'ran', requestId, attempt } satisfies PodReport);
    // Blocks as a loop does, without the CPU time.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5_000);
    return 'blocked';
  }
}

@Module({
  imports: [
    HedgeModule.forRoot({
      group: 'poison',
      address: '127.0.0.1:0',
      mode: mode as HedgeMode,
      timing: 'local',
      backend: sqlite({ file }),
    }),
  ],
  providers: [Handlers],
})
class PodModule {}

class ReportingLogger extends ConsoleLogger {
  override warn(message: unknown): void {
    report({ type: 'log', line: String(message) });
  }
}

const app = await NestFactory.createApplicationContext(PodModule, {
  logger: mode === 'client' ? new ReportingLogger({ logLevels: ['warn'] }) : false,
});
const leader = app.get(LeaderService);
if (mode === 'client') {
  const options = { timeoutMs: 120_000, ...(maxReruns !== '' && { maxReruns: Number(maxReruns) }) };
  const ended = await leader.send(topic, undefined, options).then(
    (reply) => ({ code: 'done', message: String(reply), details: {} }),
    (error: unknown) => error as HedgeError,
  );
  report({ type: 'ended', code: ended.code, message: ended.message, details: ended.details });
  await app.close();
  process.disconnect();
} else {
  leader.changes$.subscribe(() => leader.isLeader() && report({ type: 'leads' }));
}
