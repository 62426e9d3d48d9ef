import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  AlwaysOffSampler,
  BasicTracerProvider,
  InMemorySpanExporter,
  type Sampler,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { afterEach, describe, expect, it } from '@jest/globals';
import { HedgeError } from '../common/errors.js';
import { inFreshContext } from '../common/async/async-context.js';
import { beginMessage, beginSpan, processMessage, runTraced, type TraceContext } from './tracing.js';

const exporter = new InMemorySpanExporter();

function startSdk(sampler?: Sampler): void {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const spanProcessors = [new SimpleSpanProcessor(exporter)];
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors, ...(sampler && { sampler }) }));
}

afterEach(() => {
  exporter.reset();
  trace.disable();
  context.disable();
  propagation.disable();
});

const message = (given: TraceContext, attempt = 1, epoch = 7n) => ({ requestId: 'id', attempt, epoch, trace: given });
const spans = () => exporter.getFinishedSpans();
const activeTrace = () => trace.getActiveSpan()?.spanContext().traceId;

describe('the trace of a message', () => {
  it('is empty without an SDK, and its handler runs without a span', async () => {
    const { trace: sent, end } = beginMessage('send', 'price');
    end();
    expect(sent).toEqual({});
    expect(await processMessage('price', message(sent), async () => activeTrace())).toBeUndefined();
  });

  it('continues at the handler, without a link on the first attempt and with one on the second', async () => {
    startSdk();
    const sending = beginMessage('send', 'price');
    expect(sending.trace.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    for (const attempt of [1, 2]) {
      await processMessage('price', message(sending.trace, attempt), async () => undefined);
    }
    sending.end();
    const [first, second, producer] = spans();
    expect([first, second, producer].map((span) => span?.name)).toEqual([
      'process price',
      'process price',
      'send price',
    ]);
    for (const consumer of [first!, second!]) {
      expect(consumer.parentSpanContext?.spanId).toBe(producer!.spanContext().spanId);
    }
    expect(first!.links).toEqual([]);
    expect(second!.links.map((link) => link.context.spanId)).toEqual([producer!.spanContext().spanId]);
    expect(second!.attributes).toMatchObject({ 'hedge.attempt': 2, 'messaging.message.id': 'id' });
  });

  it('continues also when it is not sampled', async () => {
    startSdk(new AlwaysOffSampler());
    const { trace: sent, end } = beginMessage('send', 'price');
    end();
    expect(sent.traceparent).toMatch(/-00$/);
    const seen = await processMessage('price', message(sent), async () => activeTrace());
    expect(sent.traceparent).toContain(seen);
    expect(spans()).toEqual([]);
  });

  it('belongs to its handler only, also when messages run at the same time', async () => {
    startSdk();
    const sent = [beginMessage('send', 'a'), beginMessage('send', 'b'), undefined];
    const ids = await Promise.all(
      sent.map((span) =>
        inFreshContext(() =>
          processMessage('t', message(span?.trace ?? {}), async () => {
            const before = activeTrace();
            await new Promise((resolve) => setImmediate(resolve));
            return [before, activeTrace()];
          }),
        ),
      ),
    );
    expect(ids.every(([before, after]) => before !== undefined && before === after)).toBe(true);
    expect(new Set(ids.map(([id]) => id)).size).toBe(3);
    for (const [at, span] of sent.entries()) if (span) expect(span.trace.traceparent).toContain(ids[at]![0]);
    expect(activeTrace()).toBeUndefined();
  });

  it('begins anew when the text of a peer is no trace context', async () => {
    startSdk();
    await processMessage('t', message({ traceparent: 'nonsense', tracestate: ',,' }), async () => undefined);
    expect(spans()[0]?.parentSpanContext).toBeUndefined();
  });
});

describe('a span', () => {
  it('that fails has the code of its error', async () => {
    startSdk();
    beginSpan('wait', {}).end(new HedgeError('DEADLINE_EXCEEDED', 'too late'));
    const thrown = runTraced('job sweep', {}, () => Promise.reject(new TypeError('wrong')));
    await expect(thrown).rejects.toThrow('wrong');
    expect(spans().map(({ attributes, status }) => [attributes['error.type'], status.message])).toEqual([
      ['DEADLINE_EXCEEDED', 'too late'],
      ['TypeError', 'wrong'],
    ]);
  });

  it('of work that no caller asked for begins a trace, in which the work runs', async () => {
    startSdk();
    const outer = beginSpan('outer', {});
    const ids = await runTraced('job sweep', {}, async () => activeTrace());
    outer.end();
    const job = spans().find(({ name }) => name === 'job sweep');
    expect(job?.parentSpanContext).toBeUndefined();
    expect(ids).toBe(job?.spanContext().traceId);
  });
});
