/**
 * A pod that is listed while it runs: it puts its key with `whileAlive`.
 *
 * Usage: presence-pod.ts FILE NAME
 */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { HedgeModule, KvStore, LeaderService } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';

export type PresenceReport =
  { readonly type: 'listed'; readonly name: string } | { readonly type: 'leads'; readonly name: string };

const [file = '', name = ''] = process.argv.slice(2);
const report = (event: PresenceReport): void => void process.send?.(event);

@Module({
  imports: [
    HedgeModule.forRoot({ group: 'presence', address: '127.0.0.1:0', timing: 'local', backend: sqlite({ file }) }),
  ],
})
class PodModule {}

const app = await NestFactory.createApplicationContext(PodModule, { logger: false });
app.enableShutdownHooks();
const leader = app.get(LeaderService);
leader.changes$.subscribe(() => leader.isLeader() && report({ type: 'leads', name }));
await app.get(KvStore).put(`pods/${name}`, 'here', { whileAlive: true, timeoutMs: 60_000 });
report({ type: 'listed', name });
