import { AsyncLocalStorage } from 'node:async_hooks';
import { Logger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  ClusterService,
  HedgeModule,
  KvStore,
  LeaderInterval,
  LeaderService,
  LockService,
  OnBroadcast,
  OnLeaderMessage,
  OnLeaderStream,
  SemaphoreService,
  type BackendFactory,
  type ClusterView,
} from 'nestjs-hedge';
import { memory } from 'nestjs-hedge/memory';
import { HedgePrometheusModule } from 'nestjs-hedge/prometheus';
import { Counter, register, Registry } from 'prom-client';
import { METRICS, type MetricName, prometheusName } from '../../libs/hedge/src/telemetry/definitions.js';
import { Pods, until } from '../nest/apps.js';
import { Pod } from './pods.js';
import { PROMTOOL, promtool } from './promtool.js';

Logger.overrideLogger(false);

class Handlers {
  runs = 0;

  @OnLeaderMessage('price')
  price(): number {
    return 3;
  }

  @OnLeaderMessage('fails')
  fails(): void {
    throw new Error('failed');
  }

  @OnBroadcast('flush')
  flush(): void {}

  @OnLeaderStream('echo')
  async *echo(): AsyncGenerator<number> {
    yield 1;
  }

  @LeaderInterval(1_000, { name: 'sweep' })
  sweep(): void {
    this.runs += 1;
  }
}

function isComplete({ members, settled }: ClusterView): boolean {
  return settled && members.length === 2;
}

/** The samples of a scrape: `name{labels}` and the value. */
async function samples(registry: Registry): Promise<Map<string, number>> {
  const lines = (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

describe('two pods with a registry each', () => {
  const registries = [new Registry(), new Registry()];
  const scrape = new AsyncLocalStorage<true>();
  let calls = 0;
  const pods = new Pods({ providers: [Handlers] }, { metrics: { labels: ['topic', 'lock'] } });
  const [leads, follows] = registries as [Registry, Registry];

  /** Counts the calls to the database that a scrape makes. */
  const counting = <Table extends object>(table: Table): Table =>
    new Proxy(table, {
      get(_, key) {
        const value: unknown = Reflect.get(table, key, table);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          if (scrape.getStore() === true) calls += 1;
          return Reflect.apply(value, table, args);
        };
      },
    });
  const counted: BackendFactory = {
    create(context) {
      const backend = memory({ database: pods.database }).create(context);
      const { name, lease, log, permits } = backend;
      return {
        name,
        lease: counting(lease),
        log: counting(log),
        permits: counting(permits),
        open: () => backend.open(),
        close: () => backend.close(),
      };
    },
  };

  beforeAll(async () => {
    for (const registry of registries) {
      @Module({ imports: [pods.module({ backend: counted }), HedgePrometheusModule.forRoot({ registry })] })
      class Root {}
      pods.apps.push(await NestFactory.createApplicationContext(Root, { logger: false }));
    }
    await until(() => pods.apps.every((app) => isComplete(app.get(ClusterService).view)), 'both are known');
    const follower = pods.followers[0]!;
    const leader = follower.get(LeaderService);
    await leader.send('price');
    await leader.send('fails').catch(() => undefined);
    await leader.send('nowhere').catch(() => undefined);
    for await (const _ of leader.sendStream('echo', [])) continue;
    await follower.get(ClusterService).broadcast('flush');
    await follower.get(KvStore).put('key', 'value');
    await follower.get(LockService).acquire('invoices');
    await follower.get(LockService).tryAcquire('invoices');
    await follower.get(SemaphoreService).get('reports', { limit: 2 }).acquire({ permits: 2 });
    await until(() => pods.leader.get(Handlers).runs > 1, 'a job has run');
  });
  afterAll(() => pods.close());

  it('show every metric, with its help', async () => {
    const text = await leads.metrics();
    for (const name of Object.keys(METRICS) as MetricName[]) {
      expect(text).toContain(`# HELP ${prometheusName(name)} ${METRICS[name].help}`);
    }
  });

  it('show which pod leads, with which token, and who is there', async () => {
    const [leader, follower] = [await samples(leads), await samples(follows)];
    const group = '{group="test"}';
    expect([leader, follower].map((pod) => pod.get(`hedge_leader${group}`))).toEqual([1, 0]);
    const token = Number(pods.leader.get(LeaderService).fencingToken);
    for (const pod of [leader, follower]) {
      expect(pod.get(`hedge_has_leader${group}`)).toBe(1);
      expect(pod.get(`hedge_fencing_token${group}`)).toBe(token);
      expect(pod.get(`hedge_members${group}`)).toBe(2);
      expect(pod.get(`hedge_view_age_seconds${group}`)).toBe(0);
      expect(pod.get(`hedge_database_reachable${group}`)).toBe(1);
      expect(pod.get(`hedge_lease_renew_deadline_seconds${group}`)).toBe(2);
      expect(pod.get(`hedge_link_queue_bytes${group}`)).toBeGreaterThanOrEqual(0);
    }
    expect(follower.get('hedge_links{group="test",direction="dialled"}')).toBeGreaterThanOrEqual(1);
    expect(leader.get('hedge_links{group="test",direction="accepted"}')).toBeGreaterThanOrEqual(1);
  });

  it('show the margin that was left at each renewal', async () => {
    const count = 'hedge_lease_renewal_margin_seconds_count{group="test",lease="leader"}';
    const text = async (): Promise<number> => (await samples(leads)).get(count) ?? 0;
    const before = await text();
    let now = before;
    while (now === before) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      now = await text();
    }
    const all = await samples(leads);
    const sum = all.get('hedge_lease_renewal_margin_seconds_sum{group="test",lease="leader"}')!;
    expect(sum / all.get(count)!).toBeLessThan(2);
    expect(all.get('hedge_lease_renewal_margin_seconds_bucket{le="30",group="test",lease="leader"}')).toBe(
      all.get(count),
    );
    expect(
      all.get('hedge_lease_renewal_duration_seconds_count{group="test",lease="leader",outcome="renewed"}'),
    ).toBeGreaterThanOrEqual(1);
  });

  it('show messages by kind, code and topic, at the caller and at the handler', async () => {
    const [leader, follower] = [await samples(leads), await samples(follows)];
    for (const [name, pod] of [
      ['request', follower],
      ['handler', leader],
    ] as const) {
      const of = (kind: string, code: string, topic: string): number | undefined =>
        [...pod].find(
          ([sample]) =>
            sample.startsWith(`hedge_${name}_duration_seconds_count{`) &&
            sample.includes(`kind="${kind}"`) &&
            sample.includes(`code="${code}"`) &&
            (topic === '' ? !sample.includes('topic=') : sample.includes(`topic="${topic}"`)),
        )?.[1];
      expect(of('send', 'OK', 'price')).toBe(1);
      expect(of('send', 'HANDLER_FAILED', 'fails')).toBe(1);
      // The topic of a message without a handler can be any text.
      expect(of('send', 'NO_HANDLER', '')).toBe(1);
      expect(of('leader-stream', 'OK', 'echo')).toBe(1);
      expect(of('broadcast', 'OK', 'flush')).toBeGreaterThanOrEqual(1);
      expect(of('put', 'OK', '')).toBe(1);
      expect(of('semaphore_acquire', 'OK', '')).toBe(1);
    }
  });

  it('show locks, permits, puts, jobs and calls to the database', async () => {
    const [leader, follower] = [await samples(leads), await samples(follows)];
    expect(follower.get('hedge_locks_held{group="test",lock="invoices"}')).toBe(1);
    expect(
      follower.get('hedge_lock_wait_duration_seconds_count{group="test",outcome="acquired",lock="invoices"}'),
    ).toBe(1);
    expect(
      follower.get('hedge_lock_wait_duration_seconds_count{group="test",outcome="not_free",lock="invoices"}'),
    ).toBe(1);
    // Not asked for by name.
    expect(follower.get('hedge_permits_held{group="test"}')).toBe(2);
    expect(follower.get('hedge_permit_wait_duration_seconds_count{group="test",outcome="acquired"}')).toBe(1);
    expect(leader.get('hedge_kv_batch_size_count{group="test"}')).toBe(1);
    expect(leader.get('hedge_kv_commit_duration_seconds_count{group="test",outcome="OK"}')).toBe(1);
    expect(leader.get('hedge_job_firings_total{group="test",job="sweep",outcome="done"}')).toBeGreaterThanOrEqual(1);
    expect(leader.get('hedge_job_lag_seconds_count{group="test",job="sweep"}')).toBeGreaterThanOrEqual(1);
    for (const operation of ['lease.acquire', 'lease.renew', 'log.append', 'permits.write']) {
      const count = `hedge_database_call_duration_seconds_count{group="test",operation="${operation}",outcome="OK"}`;
      expect([operation, (leader.get(count) ?? 0) + (follower.get(count) ?? 0) > 0]).toEqual([operation, true]);
    }
    expect(leader.get('hedge_event_loop_delay_seconds_count{group="test"}')).toBeGreaterThanOrEqual(1);
    expect(leader.get('hedge_spill_used_bytes{group="test",tier="disk"}')).toBe(0);
    expect(leader.get('hedge_spill_free_bytes{group="test",tier="memory"}')).toBeGreaterThan(0);
  });

  it('are scraped without a call to the database', async () => {
    const before = calls;
    await scrape.run(true, () => Promise.all([leads.metrics(), follows.metrics()]));
    expect(calls).toBe(before);
    // The counter sees a call that is made in the same way.
    await scrape.run(true, () => pods.leader.get(LockService).holder('invoices'));
    expect(calls).toBe(before + 1);
  });

  const check = PROMTOOL === undefined ? it.skip : it;
  check('have names and units of which promtool approves', async () => {
    expect(await promtool(['check', 'metrics'], await leads.metrics())).toEqual({ code: 0, output: '' });
  });
});

function hedge() {
  return HedgeModule.forRoot({ group: 'one', address: '127.0.0.1:0', timing: 'local', backend: memory() });
}

describe('the Prometheus module', () => {
  it('registers in the default registry, which the app serves with @willsoto/nestjs-prometheus', async () => {
    const pod = await Pod.start();
    try {
      const text = await pod.get('/metrics');
      expect(text).toContain('hedge_members{group="traced"}');
      expect(text).toContain('process_cpu_seconds_total');
    } finally {
      await pod.kill();
    }
  });

  it('leaves the registry when the app closes, so that a test can create the app again', async () => {
    for (let i = 0; i < 2; i += 1) {
      @Module({ imports: [hedge(), HedgePrometheusModule.forRoot()] })
      class Root {}
      const app = await NestFactory.createApplicationContext(Root, { logger: false });
      expect(await register.metrics()).toContain('hedge_members{group="one"}');
      await app.close();
      expect(await register.metrics()).not.toContain('hedge_');
    }
  });

  it('shares a registry among several groups of one process', async () => {
    const registry = new Registry();
    const apps = await Promise.all(
      ['a', 'b'].map((group) => {
        @Module({
          imports: [
            HedgeModule.forRoot({ group, address: '127.0.0.1:0', timing: 'local', backend: memory() }),
            HedgePrometheusModule.forRoot({ registry }),
          ],
        })
        class Root {}
        return NestFactory.createApplicationContext(Root, { logger: false });
      }),
    );
    const groups = async (): Promise<string[]> =>
      [...(await samples(registry)).keys()].filter((name) => name.startsWith('hedge_leader{')).sort();
    expect(await groups()).toEqual(['hedge_leader{group="a"}', 'hedge_leader{group="b"}']);
    await apps[0]!.close();
    expect(await groups()).toEqual(['hedge_leader{group="b"}']);
    await apps[1]!.close();
    expect(await groups()).toEqual([]);
  });

  it('fails the start when the app has a metric of the same name', async () => {
    const registry = new Registry();
    registry.registerMetric(new Counter({ name: 'hedge_leader', help: 'of the app', registers: [] }));
    @Module({ imports: [hedge(), HedgePrometheusModule.forRoot({ registry })] })
    class Root {}
    const start = NestFactory.createApplicationContext(Root, { logger: false, abortOnError: false });
    await expect(start).rejects.toThrow('hedge_leader');
  });
});
