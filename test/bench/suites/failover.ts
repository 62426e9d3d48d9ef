import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster } from '../cluster.js';
import type { Plan } from '../options.js';
import { median, type Row } from '../statistics.js';

const CONCURRENCY = 16;

/** Additional values of the rows of this suite. The latencies of a row are the times until the next leader answered. */
export interface FailoverRow extends Row {
  readonly failedSends: number;
}

/** Three pods. One sends without a pause while the leader is killed or stopped. */
export async function failoverSuite(plan: Plan): Promise<FailoverRow[]> {
  const killed: Failover[] = [];
  const stopped: Failover[] = [];
  for (let time = 0; time < plan.failovers; time += 1) {
    killed.push(await failOver('SIGKILL'));
    stopped.push(await failOver('SIGTERM'));
  }
  return [row('failover-kill', killed), row('failover-stop', stopped)];
}

interface Failover {
  readonly ms: number;
  readonly seconds: number;
  readonly sends: number;
  readonly failures: readonly string[];
}

function failOver(signal: NodeJS.Signals): Promise<Failover> {
  return Cluster.run(3, async (cluster) => {
    const { address } = await cluster.leader();
    const sender = await cluster.follower();
    const start = performance.now();
    await sender.ask('startWatch', { concurrency: CONCURRENCY });
    await sleep(1_000);
    const at = Date.now();
    await cluster.end(address, signal);
    await sleep(6_000);
    const seen = await sender.ask('stopWatch');
    if (seen === undefined) throw new Error('the watch was not started');
    const next = Object.entries(seen.firstReply).find(([leader]) => leader !== address);
    if (next === undefined) throw new Error(`No pod became leader within 6 s after ${signal}: ${seen.failures.at(-1)}`);
    for (const failure of new Set(seen.failures)) console.error(`  a send failed around ${signal}: ${failure}`);
    const seconds = (performance.now() - start) / 1_000;
    return { ms: next[1] - at, seconds, sends: seen.sends, failures: seen.failures };
  });
}

function row(name: string, failovers: readonly Failover[]): FailoverRow {
  const times = failovers.map(({ ms }) => ms);
  const longest = Math.max(...times);
  return {
    name,
    concurrency: CONCURRENCY,
    opsPerSecond: median(failovers.map(({ sends, seconds }) => sends / seconds)),
    p50Ms: median(times),
    p99Ms: longest,
    spread: (longest - Math.min(...times)) / median(times),
    failedSends: failovers.reduce((sum, { failures }) => sum + failures.length, 0),
  };
}
