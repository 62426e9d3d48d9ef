import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Collector } from '../../test/telemetry/collector.js';
import type { SentSpan } from '../../test/telemetry/pod.js';
import { agreed, Pod } from '../../test/telemetry/pods.js';
import { escaped, svg } from './svg.js';

const REQUESTS = 40;
const WIDTH = 1_000;
const NAMES = 300;
const ROW = 22;
const TOP = 66;
const MARGIN = 16;

/** The spans of the shortest of some requests to a follower, as the collector of the test receives them from both pods. */
export async function drawTrace(): Promise<Readonly<Record<string, string>>> {
  const folder = await mkdtemp(join(tmpdir(), 'hedge-pictures-'));
  const collector = new Collector();
  const address = await collector.start();
  const pods: Pod[] = [];
  try {
    for (let i = 0; i < 2; i += 1) pods.push(await Pod.start(folder, address));
    const [leader, follower] = await agreed(pods);
    // The first requests open links and compile code, and other processes disturb some. So the shortest one is shown.
    for (let i = 0; i < REQUESTS; i += 1) await fetch(`${follower.url}/all`, { method: 'POST' });
    await sleep(1_000);
    const [root] = collector.spans.filter(({ name }) => name === 'POST /all').sort((a, b) => lengthOf(a) - lengthOf(b));
    if (root === undefined) throw new Error('The requests have no spans');
    return { 'tracing.svg': waterfall(root, collector.spans, leader.process.pid!) };
  } finally {
    await Promise.all(pods.map((pod) => pod.kill()));
    collector.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

function waterfall(root: SentSpan, spans: readonly SentSpan[], leader: number): string {
  const rows = [...descendants(root, spans, 0)];
  const scale = (WIDTH - NAMES - 3 * MARGIN - 60) / lengthOf(root);
  const x = (ms: number): number => NAMES + 2 * MARGIN + (ms - root.startMs) * scale;
  const body = [
    text(MARGIN, 28, 'strong', `One trace: ${root.name}, ${rows.length} spans, ${shown(root)}`),
    `<rect class="one" x="${MARGIN}" y="40" width="12" height="12" rx="2" />`,
    text(MARGIN + 18, 51, 'soft', 'the pod that got the request'),
    `<rect class="two" x="${MARGIN + 210}" y="40" width="12" height="12" rx="2" />`,
    text(MARGIN + 228, 51, 'soft', 'the leader'),
  ];
  for (const [at, { span, depth }] of rows.entries()) {
    const y = TOP + at * ROW;
    const width = Math.max(1.5, lengthOf(span) * scale);
    body.push(
      `<line class="line" x1="${MARGIN}" x2="${WIDTH - MARGIN}" y1="${y}" y2="${y}" />`,
      text(MARGIN + depth * 18, y + 16, '', span.name),
      `<rect class="${span.pid === leader ? 'two' : 'one'}" x="${x(span.startMs).toFixed(1)}" y="${y + 5}" width="${width.toFixed(1)}" height="12" rx="2" />`,
      text(x(span.startMs) + width + 6, y + 16, 'soft', shown(span)),
    );
  }
  return svg(WIDTH, TOP + rows.length * ROW + MARGIN, 'The spans of one trace over two pods', body);
}

/** A span and all spans below it, in the order of their beginning. */
function* descendants(
  span: SentSpan,
  spans: readonly SentSpan[],
  depth: number,
): Generator<{ readonly span: SentSpan; readonly depth: number }> {
  yield { span, depth };
  const children = spans.filter(({ parentId }) => parentId === span.spanId).sort((a, b) => a.startMs - b.startMs);
  for (const child of children) yield* descendants(child, spans, depth + 1);
}

function lengthOf({ startMs, endMs }: SentSpan): number {
  return endMs - startMs;
}

function shown(span: SentSpan): string {
  return `${lengthOf(span).toFixed(2)} ms`;
}

function text(x: number, y: number, style: string, content: string): string {
  return `<text class="sans ${style}" x="${x.toFixed(1)}" y="${y}">${escaped(content)}</text>`;
}
