import assert from 'node:assert/strict';
import { type DemoCluster, eventually } from './demo-cluster.js';
import { milliseconds, START_MS, TAKE_OVER_MS } from './figures.js';

/** The lease of the `local` preset. */
const LEASE_MS = 3_000;
/** Longer than the lease, and shorter than `maxStallMs`, which is two leases by default. */
const BLOCK_MS = LEASE_MS + 1_500;

/** Blocks the event loop of the leader, whose lease a worker thread renews. */
export async function blockedLeaderKeepsTheLead(cluster: DemoCluster): Promise<string> {
  const { leader, token } = await cluster.agree(START_MS);
  const terms = cluster.terms.length;
  const { led, token: tokenDuring } = (await leader.request('/block', `${BLOCK_MS}`)) as {
    led: boolean;
    token: string | null;
  };
  assert.ok(led, `${leader.name} must lead during the whole block`);
  assert.equal(tokenDuring, String(token));
  // The members were out of contact with their leader, and are again.
  const after = await cluster.agree(TAKE_OVER_MS);
  assert.equal(after.leader, leader, 'no other pod may lead');
  assert.equal(after.token, token, 'the leader must keep its token');
  assert.equal(cluster.terms.length, terms, 'no term may begin');
  const logged = () => cluster.stalls.get(leader.name)?.find(({ ms }) => ms > BLOCK_MS / 2);
  await eventually(
    TAKE_OVER_MS,
    () => `${leader.name} logs the stall`,
    async () => logged() !== undefined,
  );
  const { text } = logged()!;
  // On a busy machine the cause is that the pod had no processor.
  assert.match(text, /ms of CPU time meanwhile, so .*\. No lease was lost\./);
  return (
    `${leader.name} computed for ${milliseconds(BLOCK_MS)} with a lease of ${milliseconds(LEASE_MS)}, led all the time, ` +
    `and keeps token ${token}. Its log: "${text}"`
  );
}
