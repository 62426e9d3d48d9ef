import { ConsoleLogger, Controller, Injectable, Logger, type LoggerService } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import {
  ClusterService,
  type HedgeError,
  JobsService,
  LeaderCron,
  LeaderService,
  LockService,
  OnLeaderMessage,
  type Timing,
} from 'nestjs-hedge';
import { memory } from 'nestjs-hedge/memory';
import { BackendFaults, faulty } from 'nestjs-hedge/testing';
import { Logger as PinoNestLogger, LoggerModule } from 'nestjs-pino';
import { LOG_EVENTS, type LogEvent } from '../../libs/hedge/src/common/log-events.js';
import { LineLogger } from '../../libs/hedge/src/common/line-logger.js';
import { nestLogger } from '../../libs/hedge/src/nest/logger.js';
import { Pods, until } from './apps.js';

const FORGED = 'price\n{"level":"log","message":"all is well"}\u001b[2K\u202e';
const ESCAPED = 'price\\u000a{"level":"log","message":"all is well"}\\u001b[2K\\u202e';
/** Short, because a test stalls the process for longer than the lease. */
const TIMING: Timing = {
  leaseMs: 3_000,
  marginMs: 300,
  renewDeadlineMs: 2_200,
  retryMs: 100,
  backendTimeoutMs: 500,
  heartbeatMs: 200,
  heartbeatTimeoutMs: 1_000,
};

@Controller()
class Handlers {
  @OnLeaderMessage(FORGED)
  price(): never {
    throw new Error('no price\nforged');
  }
}

@Injectable()
class Jobs {
  @LeaderCron('0 4 1 1 *', { name: 'report' })
  report(): never {
    throw new Error('the warehouse is closed');
  }
}

interface Line {
  readonly level: string;
  readonly message: string;
  readonly context?: string;
  readonly params?: Readonly<Record<string, unknown>> & { readonly event?: LogEvent };
}

/** Collects what the loggers of this process write, without the warnings of Node. */
function written(): string[] {
  const chunks: string[] = [];
  for (const stream of [process.stdout, process.stderr]) {
    jest.spyOn(stream, 'write').mockImplementation((chunk) => {
      if (!String(chunk).startsWith('(node:')) chunks.push(String(chunk));
      return true;
    });
  }
  return chunks;
}

describe("the lines of an app with Nest's JSON logger", () => {
  const faults = new BackendFaults();
  const pods = new Pods({ controllers: [Handlers], providers: [Jobs] }, { timing: TIMING });
  const backend = () => faulty(memory({ database: pods.database }), faults);
  let chunks: string[] = [];

  const lines = (): Line[] => chunks.map((chunk) => JSON.parse(chunk) as Line);
  const of = (event: LogEvent): Line[] => lines().filter(({ params }) => params?.event === event);
  const logged = (event: LogEvent) => until(() => of(event).length > 0, event);
  const leads = () =>
    until(() => pods.apps.filter((app) => app.get(LeaderService).isLeader()).length === 1, 'a leader');

  beforeAll(async () => {
    chunks = written();
    for (let i = 0; i < 2; i += 1) {
      const app = await NestFactory.createApplicationContext(pods.module({ backend: backend() }), {
        logger: new ConsoleLogger({ json: true }),
        abortOnError: false,
      });
      pods.apps.push(app);
    }
    await until(() => pods.apps.every((app) => app.get(ClusterService).members().length === 2), 'two pods');
  });
  afterAll(async () => {
    await pods.close();
    jest.restoreAllMocks();
    Logger.overrideLogger(false);
  });

  it('name the leader and its token, on the leader and on the others', async () => {
    await logged('leader.changed');
    const [gained, changed] = [of('leadership.gained')[0]!.params!, of('leader.changed')[0]!.params!];
    expect(changed).toMatchObject({ group: 'test', leader: gained['member'], token: gained['token'] });
    expect(of('pod.started').map(({ params }) => params!['member'])).toContain(gained['member']);
  });

  it('of a failed message have the request id that its caller gets, and its topic cannot begin a line', async () => {
    const failed = (await pods.apps[0]!.get(LeaderService)
      .send(FORGED)
      .catch((error: unknown) => error)) as HedgeError;
    const line = of('message.failed').at(-1)!;
    expect(line.params).toMatchObject({
      topic: ESCAPED,
      kind: 'leader',
      requestId: failed.details['requestId'],
      attempt: 1,
      code: failed.code,
    });
    expect(of('leadership.gained').map(({ params }) => params!['token'])).toContain(line.params!['token']);
    expect(line.message).toContain(ESCAPED);
  });

  it('of a failed job name the firing', async () => {
    await pods.apps[0]!.get(JobsService).runNow('report');
    await logged('job.failed');
    expect(of('job.failed')[0]).toMatchObject({
      level: 'error',
      message: expect.stringContaining('the warehouse is closed'),
      params: { job: 'report', attempt: 1 },
    });
  });

  it('of a resignation name the token that ended and the pod that leads next', async () => {
    await leads();
    await pods.leader.get(LeaderService).resign();
    await logged('leadership.ended');
    const [handover, ended] = [of('leadership.handover')[0]!.params!, of('leadership.ended')[0]!.params!];
    expect(ended).toMatchObject({ token: handover['token'], member: handover['member'], reason: 'resigned' });
    const addresses = pods.apps.map((app) => app.get(ClusterService).self.address);
    expect(new Set([handover['member'], handover['successor']])).toEqual(new Set(addresses));
    await leads();
  });

  it('of a stall name its length, and the lock and the leadership that it cost', async () => {
    const lock = await pods.apps[0]!.get(LockService).acquire('invoices');
    await leads();
    const stopped = performance.now();
    while (performance.now() - stopped < 1.5 * TIMING.leaseMs) JSON.stringify(chunks);
    for (const event of ['event_loop.stalled', 'lock.lost', 'leadership.lost'] as const) await logged(event);
    expect(Number(of('event_loop.stalled')[0]!.params!['durationMs'])).toBeGreaterThan(TIMING.leaseMs);
    expect(of('lock.lost')[0]!.params).toMatchObject({
      lock: 'invoices',
      token: String(lock.fencingToken),
      code: 'LEASE_LOST',
    });
    expect(of('leadership.lost')[0]).toMatchObject({ level: 'warn', params: { code: 'LEASE_LOST' } });
  });

  it('report the beginning and the end of an outage of the database', async () => {
    await leads();
    const before = of('database.failed').length;
    faults.outage = true;
    await until(() => of('database.failed').length > before, 'the beginning of the outage');
    const ended = of('database.recovered').length;
    faults.outage = false;
    await until(() => of('database.recovered').length > ended, 'the end of the outage');
    expect(of('database.failed').at(-1)!.params!['error']).toContain('Planned fault');
  });

  it('have the group and the member, and the level and exactly the fields that docs/logs.md gives to their event', () => {
    expect(chunks.filter((chunk) => chunk.indexOf('\n') !== chunk.length - 1)).toEqual([]);
    const ours = lines().filter(({ context }) => context === 'Hedge' || context === 'HedgeTransport');
    expect(ours.length).toBeGreaterThan(20);
    for (const { level, params = {} } of ours) {
      const { event, group, member, ...fields } = params;
      expect([group, member]).toEqual(['test', expect.stringMatching(/^127\.0\.0\.1:\d+$/)]);
      if (event === undefined) continue;
      expect([event, level]).toEqual([event, LOG_EVENTS[event].level]);
      expect([event, ...Object.keys(fields).sort()]).toEqual([event, ...[...LOG_EVENTS[event].fields].sort()]);
    }
  });
});

describe('a line of an app with', () => {
  const logger = new LineLogger('Hedge', nestLogger('Hedge'), () => ({ group: 'orders', member: '10.0.0.7:7400' }));
  const write = (): void => {
    logger.warn('Lock "a" is lost', {
      event: 'lock.lost',
      lock: 'a',
      token: 7n,
      reason: 'expired',
      code: 'LEASE_LOST',
    });
    logger.error('It failed', 'Error: It failed\n    at main.ts:1:1', { event: 'http.failed', code: 'CANCELLED' });
  };
  /** Writes the two lines with a logger of the app. */
  function writtenBy(appLogger: LoggerService): string[] {
    const chunks = written();
    try {
      Logger.overrideLogger(appLogger);
      write();
    } finally {
      jest.restoreAllMocks();
      Logger.overrideLogger(false);
    }
    return chunks;
  }

  it("Nest's text logger is the text alone", () => {
    const [warning, error, stack] = writtenBy(new ConsoleLogger({ colors: false }));
    expect(warning).toMatch(/^\[Nest\] \d+ {2}- .* {4}WARN \[Hedge\] Lock "a" is lost\n$/);
    expect(error).toMatch(/ERROR \[Hedge\] It failed\n$/);
    expect(stack).toBe('Error: It failed\n    at main.ts:1:1\n');
  });

  it("Nest's JSON logger and flattenParams has the fields beside the message", () => {
    const [warning, error] = writtenBy(new ConsoleLogger({ json: true, flattenParams: true }));
    expect(JSON.parse(warning!)).toMatchObject({
      message: 'Lock "a" is lost',
      group: 'orders',
      event: 'lock.lost',
      token: '7',
    });
    expect(JSON.parse(error!)).toMatchObject({ message: 'It failed', code: 'CANCELLED', stack: expect.any(String) });
  });

  it("Nest's JSON logger and structuredParams: false has the fields within the message", () => {
    const [warning, error, ...more] = writtenBy(new ConsoleLogger({ json: true, structuredParams: false }));
    expect(JSON.parse(warning!)).toMatchObject({ message: { message: 'Lock "a" is lost', event: 'lock.lost' } });
    expect(JSON.parse(error!)).toMatchObject({ message: { message: 'It failed' }, stack: expect.any(String) });
    expect(more).toEqual([]);
  });

  it('nestjs-pino has the fields beside the message', async () => {
    const chunks: string[] = [];
    const app = await NestFactory.createApplicationContext(
      LoggerModule.forRoot({ pinoHttp: [{}, { write: (chunk: string) => void chunks.push(chunk) }] }),
      { logger: false },
    );
    writtenBy(app.get(PinoNestLogger));
    await app.close();
    const [warning, error] = chunks.map((chunk) => JSON.parse(chunk) as object);
    expect(warning).toMatchObject({ context: 'Hedge', msg: 'Lock "a" is lost', lock: 'a', member: '10.0.0.7:7400' });
    expect(error).toMatchObject({ msg: 'It failed', code: 'CANCELLED', stack: expect.any(String) });
  });
});
