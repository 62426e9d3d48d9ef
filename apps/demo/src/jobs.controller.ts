import { Body, Controller, Get, HttpCode, Logger, NotFoundException, Param, Post, Query } from '@nestjs/common';
import { setTimeout as delay } from 'node:timers/promises';
import {
  ClusterService,
  LeaderInterval,
  LeaderOnly,
  LeaderService,
  JobsService,
  type JobEntry,
  type JobRun,
  type JobStatus,
} from 'nestjs-hedge';

/** Duration of a run in milliseconds: long enough to kill its pod meanwhile. */
const WORK_MS = 800;

/** Work that runs on the leader only: at certain times, or when any pod is called. */
@Controller()
export class JobsController {
  private readonly logger = new Logger('Jobs');

  constructor(
    private readonly jobs: JobsService,
    private readonly leader: LeaderService,
    private readonly cluster: ClusterService,
  ) {}

  /** Runs once in the whole group for each firing, and once more if its pod dies during the run. */
  @LeaderInterval(2_000, { name: 'tick', catchUp: true })
  async tick({ fireTime, attempt, signal }: JobRun): Promise<void> {
    this.logger.log(`tick ${fireTime.toISOString()} attempt ${attempt}`);
    await delay(WORK_MS, undefined, { signal });
  }

  /** `curl localhost:9090/jobs`: the history of the last firings. */
  @Get('jobs')
  ledger(@Query('limit') limit = '10'): Promise<JobEntry[]> {
    return this.jobs.history('tick', { limit: Number(limit) });
  }

  /** `curl localhost:9090/jobs/all`: all jobs with their next times, on any pod. */
  @Get('jobs/all')
  all(): Promise<JobStatus[]> {
    return this.jobs.list();
  }

  /** `curl -X POST localhost:9090/jobs/pause`: no firing begins until `resume`, whichever pod leads. `run` runs it now. */
  @Post('jobs/:action')
  @HttpCode(200)
  async control(@Param('action') action: string): Promise<{ readonly id: string } | undefined> {
    if (action === 'pause') await this.jobs.pause('tick', { reason: 'by hand' });
    else if (action === 'resume') await this.jobs.resume('tick');
    else if (action === 'run') return this.jobs.runNow('tick', { reason: 'by hand' });
    else throw new NotFoundException();
    return undefined;
  }

  /** `curl localhost:9090/leaderonly -d hello`: the method runs on the leader, whichever pod is called. */
  @Post('leaderonly')
  @HttpCode(200)
  @LeaderOnly({ forward: true })
  async leaderOnly(@Body() text: string | undefined) {
    return { ranOn: this.cluster.self.address, token: String(this.leader.fencingToken), text: text ?? 'hello' };
  }
}
