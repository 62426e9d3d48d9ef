/**
 * A pod with one job. It reports each run, with the history up to it, to its parent. With `hang`, a run never ends.
 *
 * Usage: pod.ts DATABASE hang|work, where DATABASE is a file, or a Spanner database such as `projects/…`
 */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { HedgeModule, type JobRun, JobsService, LeaderInterval } from 'nestjs-hedge';
import { spanner } from 'nestjs-hedge/spanner';
import { sqlite } from 'nestjs-hedge/sqlite';

export interface RunReport {
  readonly fireTime: string;
  readonly attempt: number;
  /** Oldest first. */
  readonly events: readonly string[];
}

const [database = '', kind = ''] = process.argv.slice(2);
const backend = database.startsWith('projects/') ? spanner({ database }) : sqlite({ file: database });

class Work {
  @LeaderInterval(1_000, { name: 'work', catchUp: true })
  async work({ fireTime, attempt }: JobRun): Promise<void> {
    const history = await app.get(JobsService).history('work');
    const events = history.map(({ event }) => event).reverse();
    process.send?.({ fireTime: fireTime.toISOString(), attempt, events } satisfies RunReport);
    if (kind === 'hang') await new Promise(() => undefined);
  }
}

@Module({
  imports: [HedgeModule.forRoot({ group: 'jobs', address: '127.0.0.1:0', timing: 'local', backend })],
  providers: [Work],
})
class PodModule {}

const app = await NestFactory.createApplicationContext(PodModule, { logger: false });
