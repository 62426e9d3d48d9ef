import {
  BadRequestException,
  Body,
  Controller,
  Get,
  HttpCode,
  Logger,
  Post,
  Query,
  Res,
  type StreamableFile,
} from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import { ClusterService, LockService, SemaphoreService } from 'nestjs-hedge';
import { hold } from './holding.js';
import { answerWith, closing } from './line-stream.js';

/** Longer than the time until a lock or permit of a dead pod is free. */
const WAIT_MS = 60_000;

/** Limits concurrency over all pods: semaphores and locks. */
@Controller()
export class ExclusionController {
  private readonly logger = new Logger('Exclusion');

  constructor(
    private readonly semaphores: SemaphoreService,
    private readonly locks: LockService,
    private readonly cluster: ClusterService,
  ) {}

  /** `curl localhost:9090/semaphore -d "reports 2 5000"`: waits for one of 2 permits and holds it for 5 s. */
  @Post('semaphore')
  @HttpCode(200)
  semaphore(
    @Body() body: string | undefined,
    @Res({ passthrough: true }) response: ServerResponse,
  ): Promise<StreamableFile> {
    const [, name, limit, holdMs] = /^(\S+) (\d+) (\d{1,7})$/.exec(body ?? '') ?? [];
    if (name === undefined) {
      throw new BadRequestException('the body must be: name limit milliseconds, such as: reports 2 5000');
    }
    const semaphore = this.semaphores.get(name, { limit: Number(limit) });
    const holding = this.holding(`semaphore ${name}`, Number(holdMs), response);
    return answerWith(hold(() => semaphore.acquire({ timeoutMs: WAIT_MS, signal: holding.signal }), holding));
  }

  /** `curl localhost:9090/lock -d "invoices 5000"`: waits for the lock and holds it for 5 s. */
  @Post('lock')
  @HttpCode(200)
  lock(
    @Body() body: string | undefined,
    @Res({ passthrough: true }) response: ServerResponse,
  ): Promise<StreamableFile> {
    const [, name, holdMs] = /^(\S+) (\d{1,7})$/.exec(body ?? '') ?? [];
    if (name === undefined) {
      throw new BadRequestException('the body must be: name milliseconds, such as: invoices 5000');
    }
    const holding = this.holding(`lock ${name}`, Number(holdMs), response);
    return answerWith(hold(() => this.locks.acquire(name, { timeoutMs: WAIT_MS, signal: holding.signal }), holding));
  }

  /** `curl localhost:9090/lock?name=invoices`: returns the holder. */
  @Get('lock')
  async holder(@Query('name') name: string | undefined) {
    if (name === undefined) throw new BadRequestException('give the name of the lock: /lock?name=…');
    return { name, holder: (await this.locks.holder(name)) ?? null };
  }

  private holding(name: string, holdMs: number, response: ServerResponse) {
    return { name, holdMs, pod: this.cluster.self.address, signal: closing(response), logger: this.logger };
  }
}
