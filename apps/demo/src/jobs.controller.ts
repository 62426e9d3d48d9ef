import { Body, Controller, Get, HttpCode, Logger, Post, Query } from '@nestjs/common';
import { setTimeout as delay } from 'node:timers/promises';
import {
  ClusterService,
  LeaderInterval,
  LeaderOnly,
  LeaderService,
  JobsService,
  type JobEntry,
  type JobRun,
} from 'nestjs-hedge';

/** How long a run works, in milliseconds: long enough to be killed in it. */
const WORK_MS = 800;

/** What runs on the leader alone: at times, or when any pod is asked. */
@Controller()
export class JobsController {
  private readonly logger = new Logger('Jobs');

  constructor(
    private readonly jobs: JobsService,
    private readonly leader: LeaderService,
    private readonly cluster: ClusterService,
  ) {}

  /** Once in the whole group for each firing; once more if its pod dies in it. */
  @LeaderInterval(2_000, { name: 'tick', catchUp: true })
  async tick({ fireTime, attempt, signal }: JobRun): Promise<void> {
    this.logger.log(`tick ${fireTime.toISOString()} attempt ${attempt}`);
    await delay(WORK_MS, undefined, { signal });
  }

  /** `curl localhost:9090/jobs`: what became of the last firings. */
  @Get('jobs')
  ledger(@Query('limit') limit = '10'): Promise<JobEntry[]> {
    return this.jobs.history('tick', { limit: Number(limit) });
  }

  /** `curl localhost:9090/leaderonly -d hello`: whichever pod is asked, the method runs on the leader. */
  @Post('leaderonly')
  @HttpCode(200)
  @LeaderOnly({ forward: true })
  async leaderOnly(@Body() text: string | undefined) {
    return { ranOn: this.cluster.self.address, token: String(this.leader.fencingToken), text: text ?? 'hello' };
  }
}
