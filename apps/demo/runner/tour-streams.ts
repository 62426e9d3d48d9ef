import assert from 'node:assert/strict';
import type { DemoCluster } from './demo-cluster.js';
import { since, TAKE_OVER_MS } from './figures.js';

const LINES = 2_000;
const BACK_AND_FORTH = 50;

/** Streams from every pod at once. Then sends one line at a time, each after the reply to the previous line. */
export async function streamsReachTheLeader(cluster: DemoCluster): Promise<string> {
  const { leader, followers } = await cluster.agree(TAKE_OVER_MS);
  const { self } = await leader.cluster();
  const numbers = Array.from({ length: LINES }, (_, n) => n + 1);
  const expected = [
    ...numbers.map((n) => `${self.address} received ${n}: line ${n}`),
    `${self.address} counted ${LINES} lines`,
  ];
  const start = performance.now();
  await Promise.all(
    cluster.pods.map(async (pod) => {
      const body = numbers.map((n) => `line ${n}\n`).join('');
      assert.deepEqual(await collected(pod.lines('/streamsend', body)), expected, `replies to ${pod.name}`);
    }),
  );
  const took = since(start);

  const again = performance.now();
  const stream = followers[0]!.stream('/streamsend');
  stream.write('line 1\n');
  let answered = 0;
  for await (const reply of stream.lines()) {
    if (answered === BACK_AND_FORTH) break;
    assert.equal(reply, expected[answered]);
    answered += 1;
    if (answered < BACK_AND_FORTH) stream.write(`line ${answered + 1}\n`);
    else stream.end();
  }
  assert.equal(answered, BACK_AND_FORTH);
  return (
    `${cluster.pods.length} pods sent ${LINES} lines each, all answered in order, in ${took}; ` +
    `${BACK_AND_FORTH} lines back and forth in ${since(again)}`
  );
}

export async function streamsReachAll(cluster: DemoCluster): Promise<string> {
  const { followers } = await cluster.agree(TAKE_OVER_MS);
  const start = performance.now();
  const body = Array.from({ length: LINES }, (_, n) => `line ${n + 1}\n`).join('');
  const replies = await collected(followers[0]!.lines('/streambroadcast', body));
  const took = since(start);
  for (const pod of cluster.pods) {
    const { address } = (await pod.cluster()).self;
    const own = replies.filter((reply) => reply.startsWith(`${address} `));
    assert.equal(own.length, LINES + 1, `replies of ${pod.name}`);
    assert.equal(own.at(-1), `${address} counted ${LINES} lines`);
  }
  return `${LINES} lines to ${cluster.pods.length} pods, ${replies.length} replies in ${took}`;
}

async function collected(lines: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const line of lines) all.push(line);
  return all;
}
