import type { AddressInfo } from 'node:net';
import {
  type ArgumentsHost,
  Catch,
  ConflictException,
  Controller,
  type ExceptionFilter,
  Get,
  HttpException,
  type INestApplication,
  Logger,
  Module,
  NotFoundException,
  Param,
  type Type,
} from '@nestjs/common';
import { APP_FILTER, HttpAdapterHost, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { HedgeError, type HedgeErrorCode, HedgeHttpFilter, LeaderService, OnLeaderMessage } from 'nestjs-hedge';
import { Pods } from './apps.js';

Logger.overrideLogger(false);

const STATUSES: Record<HedgeErrorCode, number> = {
  NO_LEADER: 503,
  NOT_STARTED: 503,
  NOT_LEADER: 503,
  DEADLINE_EXCEEDED: 504,
  OUTCOME_UNKNOWN: 502,
  NO_HANDLER: 501,
  HANDLER_FAILED: 500,
  MEMBER_UNREACHABLE: 503,
  OVERLOADED: 503,
  PAYLOAD_TOO_LARGE: 413,
  BACKEND_UNAVAILABLE: 503,
  LEASE_LOST: 409,
  CONFLICT: 409,
  INVALID_OPTIONS: 500,
  INVALID_ARGUMENT: 400,
  UNAUTHENTICATED: 500,
  CANCELLED: 500,
  SHUTTING_DOWN: 503,
  SPILL_FULL: 507,
  SPILL_LOST: 500,
  SPILL_CORRUPT: 500,
  COMPACTED: 410,
  SPILL_UNKNOWN: 404,
};

@Controller()
class Errors {
  constructor(private readonly leader: LeaderService) {}

  @Get('code/:code')
  fail(@Param('code') code: HedgeErrorCode) {
    throw new HedgeError(code, 'pod 10.0.0.7:7400', { details: { requestId: 'r1' } });
  }

  @Get('send/:topic')
  send(@Param('topic') topic: string) {
    return this.leader.send(topic);
  }

  @Get('own') own() {
    throw new NotFoundException('no such order');
  }

  @Get('fault') fault() {
    throw new Error('secret');
  }

  @OnLeaderMessage('taken') taken() {
    throw new ConflictException('taken');
  }

  @OnLeaderMessage('broken') broken() {
    throw new Error('the password is 1234');
  }
}

/** Typical filters of apps: one for HttpExceptions, and one for all other errors. */
@Catch(HttpException)
class OwnHttpFilter implements ExceptionFilter<HttpException> {
  constructor(private readonly host: HttpAdapterHost) {}
  catch(exception: HttpException, host: ArgumentsHost) {
    const response: unknown = host.switchToHttp().getResponse();
    this.host.httpAdapter.reply(response, { own: exception.message }, exception.getStatus());
  }
}

@Catch()
class OwnCatchAll implements ExceptionFilter {
  constructor(private readonly host: HttpAdapterHost) {}
  catch(_: unknown, host: ArgumentsHost) {
    this.host.httpAdapter.reply(host.switchToHttp().getResponse(), { all: true }, 500);
  }
}

async function serve(
  adapter: 'Express' | 'Fastify',
  filters: readonly Type[],
  global = false,
): Promise<INestApplication> {
  @Module({
    imports: [new Pods({ controllers: [Errors] }).module()],
    providers: filters.map((useClass) => ({ provide: APP_FILTER, useClass })),
  })
  class AppModule {}
  const http = adapter === 'Express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(AppModule, http, { abortOnError: false, logger: false });
  if (global) app.useGlobalFilters(new HedgeHttpFilter(app.getHttpAdapter()));
  await app.listen(0, '127.0.0.1');
  return app;
}

async function get(app: INestApplication, path: string) {
  const { port } = app.getHttpServer().address() as AddressInfo;
  const answer = await fetch(`http://127.0.0.1:${port}/${path}`);
  return {
    status: answer.status,
    retryAfter: answer.headers.get('retry-after'),
    body: await answer.json(),
  };
}

describe.each(['Express', 'Fastify'] as const)('HedgeHttpFilter on %s', (adapter) => {
  let app: INestApplication;
  beforeAll(async () => {
    app = await serve(adapter, [HedgeHttpFilter]);
  });
  afterAll(() => app.close());

  it.each(Object.entries(STATUSES))('answers %s with %d', async (code, status) => {
    const answer = await get(app, `code/${code}`);
    expect(answer).toMatchObject({
      status,
      retryAfter: status === 503 ? '1' : null,
      body: { statusCode: status, error: code, requestId: 'r1' },
    });
    const { message } = answer.body as { message: string };
    expect(message.includes('10.0.0.7')).toBe(status < 500);
  });

  it('answers with the HttpException of a message handler', async () => {
    expect(await get(app, 'send/taken')).toMatchObject({
      status: 409,
      body: { statusCode: 409, message: 'taken', error: 'Conflict' },
    });
  });

  it('hides an unexpected error of a message handler', async () => {
    const answer = await get(app, 'send/broken');
    expect(answer).toMatchObject({ status: 500, body: { error: 'HANDLER_FAILED' } });
    expect(JSON.stringify(answer)).not.toContain('1234');
  });

  it('leaves other errors to Nest', async () => {
    expect(await get(app, 'own')).toMatchObject({ status: 404, body: { message: 'no such order' } });
    expect(await get(app, 'fault')).toMatchObject({ status: 500, body: { message: 'Internal server error' } });
  });

  it('works together with filters of the app', async () => {
    const other = await serve(adapter, [OwnCatchAll, OwnHttpFilter, HedgeHttpFilter]);
    try {
      expect(await get(other, 'code/NO_LEADER')).toMatchObject({ status: 503, retryAfter: '1' });
      expect(await get(other, 'own')).toMatchObject({ status: 404, body: { own: 'no such order' } });
      expect(await get(other, 'fault')).toMatchObject({ status: 500, body: { all: true } });
    } finally {
      await other.close();
    }
  });

  it('works when main.ts installs it', async () => {
    const other = await serve(adapter, [], true);
    try {
      expect(await get(other, 'code/CONFLICT')).toMatchObject({ status: 409, body: { error: 'CONFLICT' } });
      expect(await get(other, 'code/NO_LEADER')).toMatchObject({ status: 503, retryAfter: '1' });
    } finally {
      await other.close();
    }
  });
});
