import { Body, Controller, Get, Injectable, Param, Post } from '@nestjs/common';
import {
  type JobRun,
  JobsService,
  LeaderCron,
  LeaderInterval,
  LeaderJob,
  LeaderOnly,
  type TransactionalJobRun,
} from 'nestjs-hedge';
import { Column, DataSource, Entity, PrimaryGeneratedColumn } from 'typeorm';

@Entity()
class Invoice {
  @PrimaryGeneratedColumn() id!: number;
  @Column() customer!: string;
}

declare function invoicesOf(day: Date): Promise<Omit<Invoice, 'id'>[]>;

declare function writeReport(day: Date, fencingToken: bigint, signal: AbortSignal): Promise<void>;
declare function writeReportOf(tenant: string, day: Date, signal: AbortSignal): Promise<void>;
declare function poll(signal: AbortSignal): Promise<void>;
declare function rebuild(kinds: string[]): Promise<{ rows: number }>;

// #region leader-only
@Controller('index')
export class IndexController {
  @LeaderOnly() // elsewhere it throws NOT_LEADER
  compact() {
    // …
  }

  @Post('rebuild') // on any pod: it runs on the leader, and this pod sends the response
  @LeaderOnly({ forward: true, timeoutMs: 60_000 })
  async rebuild(@Body() { kinds }: { kinds: string[] }) {
    return rebuild(kinds);
  }
}
// #endregion

// #region jobs
@Injectable()
export class ReportService {
  constructor(private readonly jobs: JobsService) {}

  @LeaderCron('0 3 * * *', { timeZone: 'Europe/Warsaw', name: 'nightly report', catchUp: true })
  async nightly({ fireTime, fencingToken, signal }: JobRun) {
    await writeReport(fireTime, fencingToken, signal);
  }

  @LeaderInterval(15_000)
  async poll({ signal }: JobRun) {
    await poll(signal);
  }

  lastNights() {
    return this.jobs.history('nightly report', { limit: 14 });
  }
}
// #endregion

// #region control
@Controller('jobs')
export class JobsController {
  constructor(private readonly jobs: JobsService) {}

  @Get() // names, next times, the run in progress, the last outcomes
  list() {
    return this.jobs.list();
  }

  @Post(':name/run') // it runs on the leader; the response does not wait for its end
  run(@Param('name') name: string, @Body() { by, reason }: { by: string; reason: string }) {
    return this.jobs.runNow(name, { by, reason });
  }

  @Post(':name/pause') // no firing begins until resume, under any leader
  pause(@Param('name') name: string, @Body() { by, reason }: { by: string; reason: string }) {
    return this.jobs.pause(name, { by, reason });
  }

  @Post(':name/resume')
  resume(@Param('name') name: string) {
    return this.jobs.resume(name);
  }
}
// #endregion

// #region added
@Injectable()
export class TenantService {
  constructor(private readonly jobs: JobsService) {}

  @LeaderJob('tenant report') // runs the jobs that name this handler
  async report({ data, fireTime, signal }: JobRun) {
    const { tenant } = data as { tenant: string };
    await writeReportOf(tenant, fireTime, signal);
  }

  async create(tenant: string, timeZone: string) {
    await this.jobs.add({
      name: `report of ${tenant}`,
      handler: 'tenant report',
      cron: '0 3 * * *',
      timeZone,
      data: { tenant },
    });
  }

  async close(tenant: string) {
    await this.jobs.remove(`report of ${tenant}`);
  }
}
// #endregion

// #region transactional
@Injectable()
export class BillingService {
  constructor(private readonly dataSource: DataSource) {}

  @LeaderCron('0 3 * * *', { name: 'invoices', transactional: true })
  async bill({ fireTime, transaction }: TransactionalJobRun) {
    const invoices = await invoicesOf(fireTime);
    await transaction(this.dataSource, async (tx) => {
      await tx.insert(Invoice, invoices); // tx is the EntityManager of the transaction
    });
  }
}
// #endregion
