import { Controller, Get, Headers, Inject, Post, Query, Req, Res } from '@nestjs/common';
import type { OnModuleDestroy, OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost, ModuleRef } from '@nestjs/core';
import { HedgeError } from '../../common/errors.js';
import { LeaderService } from '../../election/leader.service.js';
import { InspectionService } from '../../inspection/inspection.service.js';
import { type JobStatus, JobsService } from '../../jobs/jobs.service.js';
import { KvStore } from '../../kv/kv.store.js';
import { LockService } from '../../locks/lock.service.js';
import { ClusterService } from '../../membership/cluster.service.js';
import { SemaphoreService } from '../../semaphores/semaphore.service.js';
import { toHttpException } from '../http-filter.js';
import { internal } from '../lifecycle.js';
import { ACTIONS_KEY, parseAction, perform } from './actions.js';
import { EventStreams, type HttpResponse } from './event-streams.js';
import { GroupMonitor } from './group-monitor.js';
import { readPage } from './page.js';
import { SharedAnswer } from './shared-answer.js';

export const DASHBOARD_SETTINGS = Symbol('nestjs-hedge:dashboard-settings');

export interface DashboardSettings {
  readonly actions: boolean;
  readonly user: (request: unknown) => string | undefined;
  readonly historyLimit: number;
}

interface HttpRequest {
  readonly ip?: string;
  readonly body?: unknown;
}

const MOST_KEYS = 100;
const MOST_VERSIONS = 20;
const MOST_FIRINGS = 50;
const MOST_ACTIONS = 100;

/**
 * The page and its JSON. Each method writes the response itself, so that interceptors of the app do not change it. The
 * address has no version, so it is the same for each kind of versioning.
 */
@Controller()
export class DashboardController implements OnModuleInit, OnModuleDestroy {
  readonly #page = readPage();
  readonly #streams = new EventStreams();
  /** A list of hundreds of jobs is large: it is read and written as JSON once for all open pages. */
  readonly #jobs = new SharedAnswer(async () => JSON.stringify(await this.#listJobs()));
  #monitor!: GroupMonitor;

  constructor(
    private readonly module: ModuleRef,
    private readonly http: HttpAdapterHost,
    @Inject(DASHBOARD_SETTINGS) private readonly settings: DashboardSettings,
  ) {}

  onModuleInit(): void {
    this.#monitor = new GroupMonitor({
      inspection: internal(this.module, InspectionService),
      cluster: internal(this.module, ClusterService),
      leader: internal(this.module, LeaderService),
      actions: this.settings.actions,
    });
  }

  onModuleDestroy(): void {
    this.#streams.close();
    this.#monitor.close();
  }

  @Get()
  page(@Res() response: HttpResponse): void {
    this.#reply(response, 200, this.#page.html, this.#page.headers);
  }

  @Get('api/state')
  state(@Res() response: HttpResponse): Promise<void> {
    return this.#json(response, () => this.#monitor.state());
  }

  @Get('api/events')
  async events(@Res() response: HttpResponse): Promise<void> {
    if (!this.#streams.isFull) return this.#streams.open(response, (send) => this.#monitor.watch(send));
    await this.#json(response, () => {
      throw new HedgeError('OVERLOADED', 'Too many pages of this pod are open. Close some, or open another pod.');
    });
  }

  @Get('api/locks')
  locks(@Query('prefix') prefix: unknown, @Query('after') after: unknown, @Res() response: HttpResponse) {
    const locks = internal(this.module, LockService);
    return this.#json(response, () =>
      locks.list({ prefix: text(prefix), limit: MOST_KEYS, ...(after !== undefined && { after: text(after) }) }),
    );
  }

  @Get('api/jobs')
  jobs(@Res() response: HttpResponse): Promise<void> {
    return this.#jsonText(response, () => this.#jobs.read());
  }

  #listJobs(): Promise<JobStatus[]> {
    return internal(this.module, JobsService).list({ lastFirings: 20, timeoutMs: 5_000 });
  }

  @Get('api/jobs/history')
  firings(@Query('name') name: unknown, @Res() response: HttpResponse): Promise<void> {
    return this.#json(response, () => internal(this.module, JobsService).history(text(name), { limit: MOST_FIRINGS }));
  }

  @Get('api/keys')
  keys(@Query('prefix') prefix: unknown, @Query('after') after: unknown, @Res() response: HttpResponse) {
    const options = { limit: MOST_KEYS, ...(after !== undefined && { after: text(after) }) };
    return this.#json(response, () => internal(this.module, KvStore).keys(text(prefix), options));
  }

  /** The newest versions of a key; with `version` and `id`, those before that version. */
  @Get('api/keys/history')
  versions(
    @Query('key') key: unknown,
    @Query('version') version: unknown,
    @Query('id') id: unknown,
    @Res() response: HttpResponse,
  ): Promise<void> {
    const before = version === undefined ? {} : { before: { version: text(version), id: text(id) } };
    return this.#json(response, () =>
      internal(this.module, KvStore).history(text(key), { limit: MOST_VERSIONS, ...before }),
    );
  }

  /** The records of the actions, the newest first. */
  @Get('api/actions')
  records(@Res() response: HttpResponse): Promise<void> {
    return this.#json(response, async () => {
      const entries = await internal(this.module, KvStore).history(ACTIONS_KEY, { limit: MOST_ACTIONS });
      return entries.map(({ value, timestamp }) => ({ at: timestamp, record: value }));
    });
  }

  /**
   * Performs an action. A page of another site can send the header `X-Hedge-Dashboard` only if the app allows it by CORS.
   * Browsers never let a page set `Sec-Fetch-Site` or `Origin`. Over plain http they send only the second.
   */
  @Post('api/actions')
  act(
    @Req() request: HttpRequest,
    @Headers() headers: Readonly<Record<string, unknown>>,
    @Res() response: HttpResponse,
  ): Promise<void> | void {
    if (!this.settings.actions) {
      return this.#refuse(response, 'The dashboard is read-only. Set "actions: true" in HedgeDashboardModule.forRoot.');
    }
    if (headers['x-hedge-dashboard'] !== 'action' || !isSameOrigin(headers)) {
      return this.#refuse(
        response,
        'The action does not come from the page. Send the header "X-Hedge-Dashboard: action".',
      );
    }
    return this.#json(response, async () => {
      const by = this.settings.user(request) ?? `unknown at ${request.ip ?? 'an unknown address'}`;
      try {
        await perform(
          {
            leader: internal(this.module, LeaderService),
            jobs: internal(this.module, JobsService),
            kv: internal(this.module, KvStore),
            semaphores: internal(this.module, SemaphoreService),
            pod: () => internal(this.module, ClusterService).self.address,
            historyLimit: this.settings.historyLimit,
          },
          parseAction(request.body),
          by,
        );
      } finally {
        this.#jobs.forget();
      }
      return {};
    });
  }

  #json(response: HttpResponse, work: () => Promise<unknown>): Promise<void> {
    return this.#jsonText(response, async () => JSON.stringify(await work()));
  }

  /** Replies with a result, or with the code and message of a HedgeError. */
  async #jsonText(response: HttpResponse, work: () => Promise<string>): Promise<void> {
    let status = 200;
    let body: string;
    try {
      body = await work();
    } catch (error) {
      if (!(error instanceof HedgeError)) throw error;
      status = toHttpException(error).getStatus();
      body = JSON.stringify({ error: error.code, message: error.message });
    }
    this.#reply(response, status, body, JSON_HEADERS);
  }

  #refuse(response: HttpResponse, message: string): void {
    this.#reply(response, 403, JSON.stringify({ error: 'FORBIDDEN', message }), JSON_HEADERS);
  }

  #reply(response: HttpResponse, status: number, body: string, headers: Readonly<Record<string, string>>): void {
    const { httpAdapter } = this.http;
    for (const [name, value] of Object.entries(headers)) httpAdapter.setHeader(response, name, value);
    httpAdapter.reply(response, body, status);
  }
}

const JSON_HEADERS = {
  'Content-Type': 'application/json; charset=utf-8',
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
};

/** A parameter of the query: several of one name are an array in Express. */
function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function isSameOrigin({ 'sec-fetch-site': site, origin, host }: Readonly<Record<string, unknown>>): boolean {
  if (site !== undefined) return site === 'same-origin';
  if (origin === undefined) return true; // not a browser
  return typeof origin === 'string' && URL.canParse(origin) && new URL(origin).host === host;
}
