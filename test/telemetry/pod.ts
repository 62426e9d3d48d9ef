// One pod in a separate process, with metrics, and with the SDK of OpenTelemetry if the test has a collector for its spans.
import 'reflect-metadata';
import { context, propagation, SpanKind, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  ExportResultCode,
  hrTimeToMilliseconds,
  W3CTraceContextPropagator,
  type ExportResult,
} from '@opentelemetry/core';
import {
  BasicTracerProvider,
  SimpleSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
} from '@opentelemetry/sdk-trace-base';
import { Controller, Get, Inject, Injectable, Module, Post } from '@nestjs/common';
import type { MiddlewareConsumer, NestMiddleware, NestModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  ClusterService,
  HedgeModule,
  KvStore,
  LeaderInterval,
  LeaderOnly,
  LeaderService,
  LockService,
  OnBroadcast,
  OnBroadcastStream,
  OnLeaderMessage,
  OnLeaderStream,
  SemaphoreService,
} from 'nestjs-hedge';
import { HedgePrometheusModule } from 'nestjs-hedge/prometheus';
import { sqlite } from 'nestjs-hedge/sqlite';
import { PrometheusModule } from '@willsoto/nestjs-prometheus';

const [file = '', collector = ''] = process.argv.slice(2);

/** The part of a span that the test and the picture of docs/tracing.md read. */
export interface SentSpan {
  readonly pid: number;
  readonly name: string;
  readonly kind: SpanKind;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string | undefined;
  readonly links: readonly string[];
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Milliseconds since 1970. */
  readonly startMs: number;
  readonly endMs: number;
}

const toCollector: SpanExporter = {
  export(spans: readonly ReadableSpan[], report: (result: ExportResult) => void) {
    const body = spans.map((span): SentSpan => {
      const { traceId, spanId } = span.spanContext();
      const links = span.links.map((link) => link.context.spanId);
      const { name, kind, attributes, parentSpanContext } = span;
      const [startMs, endMs] = [hrTimeToMilliseconds(span.startTime), hrTimeToMilliseconds(span.endTime)];
      const ids = { traceId, spanId, parentId: parentSpanContext?.spanId };
      return { pid: process.pid, name, kind, ...ids, links, attributes, startMs, endMs };
    });
    fetch(collector, { method: 'POST', body: JSON.stringify(body) }).then(
      () => report({ code: ExportResultCode.SUCCESS }),
      () => report({ code: ExportResultCode.FAILED }),
    );
  },
  shutdown: async () => undefined,
};

if (collector !== '') {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(toCollector)] }));
}
const tracer = trace.getTracer('app');

/** Stands for the instrumentation of HTTP. */
@Injectable()
class HttpSpans implements NestMiddleware {
  use(
    request: { method: string; url: string; headers: object },
    response: { on(event: 'finish', run: () => void): void },
    next: () => void,
  ) {
    const parent = propagation.extract(context.active(), request.headers);
    const span = tracer.startSpan(`${request.method} ${request.url}`, { kind: SpanKind.SERVER }, parent);
    response.on('finish', () => span.end());
    context.with(trace.setSpan(parent, span), next);
  }
}

/** Stands for the instrumentation of a database client. */
async function select(): Promise<void> {
  const span = tracer.startSpan('SELECT');
  await new Promise((resolve) => setImmediate(resolve));
  span.end();
}

@Controller()
class Routes {
  constructor(
    @Inject(LeaderService) private readonly leader: LeaderService,
    @Inject(ClusterService) private readonly cluster: ClusterService,
    @Inject(KvStore) private readonly kv: KvStore,
    @Inject(LockService) private readonly locks: LockService,
    @Inject(SemaphoreService) private readonly semaphores: SemaphoreService,
  ) {}

  @Get('state')
  state() {
    return { leads: this.leader.isLeader(), members: this.cluster.members().length };
  }

  @Post('all')
  async all() {
    await this.leader.send('price', {});
    await this.cluster.broadcast('flush');
    await this.kv.put('key', 'value');
    await this.forwarded();
    for await (const _ of this.leader.sendStream('echo', [1])) continue;
    for await (const _ of this.cluster.broadcastStream('echo', [1])) continue;
    await (await this.locks.acquire('invoices')).release();
    await (await this.semaphores.get('reports', { limit: 1 }).acquire()).release();
    return 'done';
  }

  @LeaderOnly({ forward: true, name: 'Routes.forwarded' })
  async forwarded(): Promise<void> {
    await select();
  }

  @OnLeaderMessage('price')
  async price(): Promise<void> {
    await select();
  }

  @OnBroadcast('flush')
  async flush(): Promise<void> {
    await select();
  }

  @LeaderInterval(1_000, { name: 'sweep' })
  async sweep(): Promise<void> {
    await select();
  }

  @OnLeaderStream('echo')
  @OnBroadcastStream('echo')
  async *echo(): AsyncGenerator<number> {
    await select();
    yield 1;
  }
}

@Module({
  imports: [
    HedgeModule.forRoot({ group: 'traced', address: '127.0.0.1:0', timing: 'local', backend: sqlite({ file }) }),
    PrometheusModule.register(),
    HedgePrometheusModule.forRoot(),
  ],
  controllers: [Routes],
})
class PodModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(HttpSpans).forRoutes(Routes);
  }
}

const app = await NestFactory.create(PodModule, { logger: false, abortOnError: false });
await app.listen(0, '127.0.0.1');
process.send?.(await app.getUrl());
