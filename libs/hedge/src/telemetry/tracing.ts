import {
  type Attributes,
  context,
  propagation,
  ProxyTracerProvider,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from '@opentelemetry/api';
import { HedgeError, messageOf } from '../common/errors.js';
import { SCOPE } from './opentelemetry.js';

/**
 * The trace context of a message, as on the wire.
 * @see https://www.w3.org/TR/trace-context/
 */
export interface TraceContext {
  readonly traceparent?: string | undefined;
  readonly tracestate?: string | undefined;
}

/** A message that a handler runs. */
export interface TracedMessage {
  readonly requestId: string;
  readonly attempt: number;
  /** The term in which it runs; 0n for a broadcast. */
  readonly epoch: bigint;
  readonly trace?: TraceContext | undefined;
}

/** A span that has begun. */
export interface OpenSpan {
  /** The context for a message that continues the trace. */
  readonly trace: TraceContext;
  /** Ends the span; with an error, as failed. */
  end(error?: unknown): void;
}

const NO_SPAN: OpenSpan = { trace: {}, end: () => undefined };

/**
 * The tracer of the SDK that the app has registered; undefined without one, so that messages then cost nothing more. Asked
 * for at each span, because an app, or a test, may register its SDK later, or another one.
 */
function tracer(): Tracer | undefined {
  const provider = trace.getTracerProvider();
  return provider instanceof ProxyTracerProvider ? provider.getDelegateTracer(SCOPE) : provider.getTracer(SCOPE);
}

/**
 * Begins the span of a message that this process sends. Its names follow the conventions for messaging.
 * @param operation `send`, `broadcast`, `call`, `stream` or `put`.
 * @param destination the topic; empty for none.
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
 */
export function beginMessage(operation: string, destination: string): OpenSpan {
  const sdk = tracer();
  if (sdk === undefined) return NO_SPAN;
  const attributes = messageAttributes(operation, 'send', destination);
  return opened(sdk.startSpan(nameOf(operation, destination), { kind: SpanKind.PRODUCER, attributes }));
}

/** Begins a span of work inside of this process, in the trace of the caller. With `root`, it begins a trace. */
export function beginSpan(name: string, attributes: Attributes, root = false): OpenSpan {
  const sdk = tracer();
  return sdk === undefined ? NO_SPAN : opened(sdk.startSpan(name, { attributes, root }));
}

/**
 * Runs the handler of a message in a span that continues the trace of its caller. Call it outside of all contexts of the
 * app, so that a message without a trace begins a new one.
 */
export function processMessage<Result>(
  destination: string,
  message: TracedMessage,
  run: () => Promise<Result>,
): Promise<Result> {
  const sdk = tracer();
  if (sdk === undefined) return run();
  const { requestId, attempt, epoch, trace: caller } = message;
  const parent = caller === undefined ? ROOT_CONTEXT : propagation.extract(ROOT_CONTEXT, caller);
  const producer = trace.getSpanContext(parent);
  const attributes = {
    ...messageAttributes('process', 'process', destination),
    'messaging.message.id': requestId,
    'hedge.attempt': attempt,
    'hedge.fencing_token': String(epoch),
  };
  // One message with several runs: each is a child of its message, and linked to it.
  const links = producer !== undefined && (epoch === 0n || attempt > 1) ? [{ context: producer }] : [];
  const span = sdk.startSpan(nameOf('process', destination), { kind: SpanKind.CONSUMER, attributes, links }, parent);
  return within(span, run);
}

/** Runs work that no caller asked for, such as a job, in a span of its own trace. */
export function runTraced<Result>(name: string, attributes: Attributes, run: () => Promise<Result>): Promise<Result> {
  const sdk = tracer();
  return sdk === undefined ? run() : within(sdk.startSpan(name, { attributes, root: true }), run);
}

function nameOf(operation: string, destination: string): string {
  return destination === '' ? operation : `${operation} ${destination}`;
}

function messageAttributes(operation: string, type: 'send' | 'process', destination: string): Attributes {
  return {
    'messaging.system': 'hedge',
    'messaging.operation.name': operation,
    'messaging.operation.type': type,
    'messaging.destination.name': destination,
  };
}

function within<Result>(span: Span, run: () => Promise<Result>): Promise<Result> {
  return context.with(trace.setSpan(ROOT_CONTEXT, span), run).then(
    (result) => {
      span.end();
      return result;
    },
    (error: unknown) => {
      fail(span, error);
      throw error;
    },
  );
}

function opened(span: Span): OpenSpan {
  const carrier: { traceparent?: string; tracestate?: string } = {};
  propagation.inject(trace.setSpan(context.active(), span), carrier);
  return {
    // A propagator may add other fields.
    trace: { traceparent: carrier.traceparent, tracestate: carrier.tracestate },
    end(error) {
      if (error === undefined) span.end();
      else fail(span, error);
    },
  };
}

function fail(span: Span, error: unknown): void {
  span.setAttribute('error.type', error instanceof HedgeError ? error.code : nameOfError(error));
  span.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) });
  span.end();
}

function nameOfError(error: unknown): string {
  return error instanceof Error ? error.name : typeof error;
}
