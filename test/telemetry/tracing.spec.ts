import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SpanKind } from '@opentelemetry/api';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Collector } from './collector.js';
import type { SentSpan } from './pod.js';
import { agreed, Pod } from './pods.js';

let folder: string;
let collector: Collector;
let address: string;
const pods: Pod[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hedge-tracing-'));
  collector = new Collector();
  address = await collector.start();
});

afterEach(async () => {
  await Promise.all(pods.splice(0).map((pod) => pod.kill()));
  collector.stop();
  rmSync(folder, { recursive: true });
});

async function until<Found>(find: () => Found | undefined, what: string): Promise<Found> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const found = find();
    if (found !== undefined) return found;
    if (performance.now() > deadline) {
      throw new Error(
        `Timed out while waiting for ${what}: ${JSON.stringify(collector.spans.map(({ name }) => name))}`,
      );
    }
    await new Promise((resume) => setTimeout(resume, 10));
  }
}

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';

describe('pods with an SDK', () => {
  it('show a request, its messages, their handlers on the other pod and the work of these as one trace', async () => {
    for (let i = 0; i < 2; i += 1) pods.push(await Pod.start(folder, address));
    const [leader, follower] = await agreed(pods);
    const headers = { traceparent: `00-${TRACE}-00f067aa0ba902b7-01` };
    expect(await (await fetch(`${follower.url}/all`, { method: 'POST', headers })).text()).toBe('done');
    const request = await until(() => collector.spans.find(({ name }) => name === 'POST /all'), 'the request');
    expect(request.traceId).toBe(TRACE);

    const children = (parent: SentSpan, name: string): SentSpan[] =>
      collector.spans.filter((span) => span.parentId === parent.spanId && span.name === name);
    const child = (parent: SentSpan, name: string): Promise<SentSpan> => until(() => children(parent, name)[0], name);
    const messages = [
      ['send price', 'process price'],
      ['call Routes.forwarded', 'process Routes.forwarded'],
      ['stream echo', 'process echo'],
    ] as const;
    for (const [sent, processed] of messages) {
      const producer = await child(request, sent);
      expect(producer).toMatchObject({ kind: SpanKind.PRODUCER, pid: follower.process.pid, traceId: TRACE });
      const consumer = await child(producer, processed);
      expect(consumer).toMatchObject({ kind: SpanKind.CONSUMER, pid: leader.process.pid, links: [] });
      expect(consumer.attributes).toMatchObject({
        'messaging.system': 'hedge',
        'messaging.operation.type': 'process',
        'hedge.attempt': 1,
      });
      expect(await child(consumer, 'SELECT')).toMatchObject({ pid: leader.process.pid, traceId: TRACE });
    }
    const put = await child(request, 'put');
    expect(await child(put, 'process put')).toMatchObject({ pid: leader.process.pid, traceId: TRACE });

    const broadcast = await child(request, 'broadcast flush');
    const handlers = await until(() => {
      const found = children(broadcast, 'process flush');
      return found.length === 2 ? found : undefined;
    }, 'both handlers');
    expect(new Set(handlers.map(({ pid }) => pid))).toEqual(new Set([leader.process.pid, follower.process.pid]));
    for (const handler of handlers) {
      expect(handler.links).toEqual([broadcast.spanId]);
      expect(await child(handler, 'SELECT')).toMatchObject({ pid: handler.pid, traceId: TRACE });
    }
    const streams = await until(() => {
      const found = children(request, 'broadcast stream echo');
      return found.length === 2 ? found : undefined;
    }, 'a stream to each pod');
    for (const stream of streams) await child(stream, 'process echo');
    await child(request, 'hedge.lock.wait');
    await child(request, 'hedge.semaphore.wait');

    // These belong to no request.
    for (const name of ['hedge.election', 'job sweep']) {
      const root = await until(() => collector.spans.find((span) => span.name === name), name);
      expect(root.parentId).toBeUndefined();
      expect(root.traceId).not.toBe(TRACE);
    }
    await child(
      collector.spans.find(({ name }) => name === 'job sweep')!,
      'SELECT',
    );
  });

  it('talk to a pod without an SDK, and the other way round', async () => {
    pods.push(await Pod.start(folder, address), await Pod.start(folder));
    const [leader, follower] = await agreed(pods);
    for (const { url } of [leader, follower]) {
      expect(await (await fetch(`${url}/all`, { method: 'POST' })).text()).toBe('done');
    }
  });
});
