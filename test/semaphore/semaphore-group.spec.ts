import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Injectable, type INestApplicationContext } from '@nestjs/common';
import { LeaderService, OnLeaderMessage, SemaphoreService, type Permit } from 'nestjs-hedge';
import { Pods, until } from '../nest/apps.js';

const semaphores = (app: INestApplicationContext): SemaphoreService => app.get(SemaphoreService);

describe('semaphores of three pods in one process', () => {
  const pods = new Pods();
  beforeAll(() => pods.startThree());
  afterAll(() => pods.close());

  it('S1: never let more callers work at once than the limit, and serve all of them', async () => {
    let [running, most, done] = [0, 0, 0];
    const work = async (permit: Permit): Promise<void> => {
      expect(permit.isValid()).toBe(true);
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      done += 1;
    };
    const uses = pods.apps.flatMap((app) =>
      Array.from({ length: 20 }, () => semaphores(app).use('many', { limit: 3 }, work)),
    );
    await Promise.all(uses);
    expect([most, done]).toEqual([3, 60]);
  });

  it('serve callers of several pods in the order of arrival', async () => {
    const first = await semaphores(pods.leader).get('order', { limit: 1 }).acquire();
    const order: number[] = [];
    const waits: Promise<void>[] = [];
    for (const [index, app] of [...pods.apps, ...pods.apps].entries()) {
      const semaphore = semaphores(app).get('order', { limit: 1 });
      waits.push(semaphore.use(() => void order.push(index)));
      // A round trip after it on the same link: the leader has queued the request.
      expect(await semaphore.tryAcquire()).toBeUndefined();
    }
    await first.release();
    await Promise.all(waits);
    expect(order).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('S3: release a permit once, however often it is requested', async () => {
    const semaphore = semaphores(pods.followers[0]!).get('once', { limit: 2 });
    const [a, b] = [await semaphore.acquire(), await semaphore.acquire()];
    await Promise.all([a.release(), a.release()]);
    await a[Symbol.asyncDispose]();
    expect([a.isValid(), b.isValid(), (await semaphore.holders()).map(({ id }) => id)]).toEqual([false, true, [b.id]]);
    const c = await semaphore.acquire();
    expect([await semaphore.tryAcquire(), c.fencingToken > b.fencingToken]).toEqual([undefined, true]);
    await Promise.all([b.release(), c.release()]);
  });

  it('leave a caller that stops waiting without permits, and wake no other', async () => {
    const semaphore = semaphores(pods.followers[0]!).get('giving-up', { limit: 1 });
    const held = await semaphore.acquire();
    await expect(semaphore.acquire({ timeoutMs: 20 })).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
      retryable: true,
    });
    const stop = new AbortController();
    const waiting = semaphore.acquire({ signal: stop.signal });
    stop.abort(new Error('no longer'));
    await expect(waiting).rejects.toThrow('no longer');
    await held.release();
    const next = await semaphores(pods.leader).get('giving-up', { limit: 1 }).acquire();
    expect((await semaphore.holders()).map(({ id }) => id)).toEqual([next.id]);
    await next.release();
  });

  it('reject another limit with a conflict that names both, until a resize', async () => {
    const [mine, theirs] = pods.followers.map((app) => semaphores(app));
    const held = await mine!.get('limits', { limit: 1 }).acquire();
    await expect(theirs!.get('limits', { limit: 2 }).acquire()).rejects.toMatchObject({
      code: 'CONFLICT',
      details: { limit: 2, agreed: 1 },
    });
    const waiting = mine!.get('limits', { limit: 1 }).acquire();
    expect(await mine!.get('limits', { limit: 1 }).tryAcquire()).toBeUndefined();
    await theirs!.get('limits', { limit: 1 }).resize(2);
    await Promise.all([held, await waiting].map((permit) => permit.release()));
    expect(await theirs!.get('limits', { limit: 2 }).tryAcquire({ permits: 2 })).toMatchObject({ permits: 2 });
  });

  it('can be read in SQL under the keys of the Go library: the row of the semaphore, and the permits of each pod', async () => {
    const app = pods.followers[0]!;
    const permit = await semaphores(app).get('rows', { limit: 4 }).acquire({ permits: 2 });
    const [row] = pods.database.history('__hedge/semaphore/rows', { limit: 9, order: 'newest-first' });
    expect(row).toMatchObject({ id: 'limit=4' });
    const [holder] = await semaphores(pods.leader).get('rows', { limit: 4 }).holders();
    const mirror = `__caller=${holder?.member.address}`;
    const mirrors = pods.database.history(mirror, { limit: 9, order: 'newest-first' });
    expect(mirrors.find(({ id }) => id === '__hedge/semaphore/rows')?.value).toContain(permit.id);
    await permit.release();
    const left = pods.database.history(mirror, { limit: 9, order: 'newest-first' });
    expect(left.find(({ id }) => id === '__hedge/semaphore/rows')).toBeUndefined();
  });

  it.each([
    ['an empty name', '', { limit: 1 }, {}],
    ['a reserved name', '__hedge/x', { limit: 1 }, {}],
    ['a name too long for the key', 'x'.repeat(4_001), { limit: 1 }, {}],
    ['a limit of nothing', 'bad', { limit: 0 }, {}],
    ['half a limit', 'bad', { limit: 1.5 }, {}],
    ['no limit', 'bad', { limit: NaN }, {}],
    ['no permits', 'bad', { limit: 2 }, { permits: 0 }],
    ['half a permit', 'bad', { limit: 2 }, { permits: 0.5 }],
    ['more permits than the limit', 'bad', { limit: 2 }, { permits: 3 }],
    ['a time that is none', 'bad', { limit: 2 }, { timeoutMs: -1 }],
  ])('reject %s, and nothing is held', async (_what, name, limit, options) => {
    const asked = semaphores(pods.apps[0]!).use(name, { ...limit, ...options }, () => 'ran');
    await expect(asked).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(pods.database.history(`__hedge/semaphore/${name}`, { limit: 1, order: 'newest-first' })).toEqual([]);
  });

  it('reject a call without options, and a limit that is a string, by its type', async () => {
    const service = semaphores(pods.apps[0]!);
    const none = undefined as unknown as { limit: number };
    await expect(service.use('bad', none, () => 'ran')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    const text = { limit: '2' as unknown as number };
    await expect(service.use('bad', text, () => 'ran')).rejects.toThrow('"bad" is a value of type string. Give');
  });

  it('accept the options before the work, and reject work that is no function with an example', async () => {
    const semaphore = semaphores(pods.apps[0]!).get('ordered', { limit: 1 });
    expect(await semaphore.use({ timeoutMs: 5_000 }, ({ permits }) => permits)).toBe(1);
    await expect(semaphore.use({}, 'work' as never)).rejects.toThrow('semaphore.use(options, async (permit) => …)');
    await expect(semaphore.tryUse({}, undefined as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('run the work of tryUse only when the permits are free now, and release them', async () => {
    const service = semaphores(pods.apps[0]!);
    const semaphore = service.get('tried', { limit: 1 });
    const held = await semaphore.acquire();
    expect([await semaphore.tryUse(() => 'ran'), await service.tryUse('tried', { limit: 1 }, () => 'ran')]).toEqual([
      { ran: false },
      { ran: false },
    ]);
    await held.release();
    expect(await semaphore.tryUse({ permits: 1 }, (permit) => permit.isValid())).toEqual({ ran: true, result: true });
    expect(await service.tryUse('tried', { limit: 1 }, () => 'ran')).toEqual({ ran: true, result: 'ran' });
    expect(await semaphore.holders()).toEqual([]);
  });

  it('allow a destructured permit, and show the tokens of holders as digits in JSON', async () => {
    const semaphore = semaphores(pods.apps[0]!).get('destructured', { limit: 1 });
    const { name, signal, isValid, release, fencingToken } = await semaphore.acquire();
    expect([name, signal.aborted, isValid()]).toEqual(['destructured', false, true]);
    const holders = await semaphore.holders();
    expect(holders).toMatchObject([{ fencingToken }]);
    expect(JSON.parse(JSON.stringify(holders))).toMatchObject([{ fencingToken: fencingToken.toString() }]);
    await release();
    expect([isValid(), signal.aborted, await semaphore.holders()]).toEqual([false, false, []]);
  });

  it('release the permits whatever the work does', async () => {
    const service = semaphores(pods.apps[0]!);
    const failing = service.use('throws', { limit: 1 }, () => Promise.reject(new Error('the work failed')));
    await expect(failing).rejects.toThrow('the work failed');
    expect(await service.use('throws', { limit: 1, timeoutMs: 5_000 }, () => 'again')).toBe('again');
  });

  it('outlive a leader that resigns: permits stay valid, and waiting callers keep their order', async () => {
    const [one, two] = pods.followers;
    const held = await semaphores(one!).get('resigned', { limit: 1 }).acquire();
    const order: string[] = [];
    const wait = (app: INestApplicationContext, name: string): Promise<void> =>
      semaphores(app).use('resigned', { limit: 1, timeoutMs: 30_000 }, () => void order.push(name));
    const waits = [wait(two!, 'first')];
    // The next leader orders them by the time that each has waited, and messages take a moment too.
    const apart = performance.now() + 250;
    await until(() => performance.now() > apart, 'a quarter of a second');
    waits.push(wait(one!, 'second'));
    await pods.leader.get(LeaderService).resign();
    await until(() => pods.apps.some((app) => app.get(LeaderService).isLeader()), 'another leader');
    expect(held.isValid()).toBe(true);
    await held.release();
    await Promise.all(waits);
    expect([order, held.signal.aborted]).toEqual([['first', 'second'], false]);
  });

  it('a stopping pod rejects its waiting callers, and releases its permits at once', async () => {
    const app = await pods.start();
    const service = semaphores(app);
    const held = await service.get('stopping', { limit: 1 }).acquire();
    const waiting = service.get('stopping', { limit: 1 }).acquire({ timeoutMs: 60_000 });
    const next = semaphores(pods.followers[0]!).get('stopping', { limit: 1 }).acquire({ timeoutMs: 60_000 });
    const refused = expect(waiting).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    await app.close();
    await refused;
    expect([held.isValid(), held.signal.aborted, (await next).isValid()]).toEqual([false, true, true]);
    await expect(service.get('stopping', { limit: 1 }).acquire()).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
  });
});

describe('a semaphore that leader work uses', () => {
  let runs = 0;
  let finish!: () => void;
  const finished = new Promise<void>((resolve) => (finish = resolve));

  @Injectable()
  class Report {
    constructor(private readonly service: SemaphoreService) {}

    @OnLeaderMessage('report') run(): Promise<string> {
      return this.service.use('report', { limit: 1 }, async () => {
        runs += 1;
        await finished;
        return 'done';
      });
    }
  }

  const pods = new Pods({ providers: [Report] });
  afterAll(() => pods.close());

  it('is released while the leader drains, so that the work ends in its own term', async () => {
    await pods.startThree();
    const { leader } = pods;
    const sent = pods.followers[0]!.get(LeaderService).send('report', {}, { timeoutMs: 30_000 });
    await until(() => runs === 1, 'the handler runs');
    const resigned = leader.get(LeaderService).resign();
    finish();
    expect([await sent, runs]).toEqual(['done', 1]);
    await resigned;
  });
});

describe('semaphores of one pod alone', () => {
  it('accept callers again after the leader’s own callers have stopped waiting, up to the limit each time', async () => {
    const pods = new Pods({}, { limits: { maxRunning: 20 }, shutdown: { drainMs: 60_000, totalMs: 90_000 } });
    const app = await pods.start();
    const semaphore = semaphores(app).get('full', { limit: 1 });
    const held = await semaphore.acquire();
    for (let round = 0; round < 10; round += 1) {
      const stop = new AbortController();
      const waiting = Array.from({ length: 8 }, () => semaphore.acquire({ timeoutMs: 600_000, signal: stop.signal }));
      // A round trip after them: all are queued.
      expect(await semaphore.tryAcquire()).toBeUndefined();
      stop.abort(new Error('no longer'));
      for (const outcome of await Promise.allSettled(waiting))
        expect(outcome).toMatchObject({ reason: stop.signal.reason });
    }
    const last = semaphore.acquire({ timeoutMs: 600_000 });
    await Promise.all([expect(last).rejects.toMatchObject({ code: 'SHUTTING_DOWN' }), app.close()]);
    expect(held.isValid()).toBe(false);
  });

  it('are released when it stops, although there is no leader to ask', async () => {
    const pods = new Pods();
    const first = await pods.start();
    const held = await semaphores(first).get('alone', { limit: 1 }).acquire();
    await first.close();
    expect([held.isValid(), held.signal.aborted]).toEqual([false, true]);
    const [row] = pods.database.history('__hedge/semaphore/alone', { limit: 1, order: 'newest-first' });
    expect(JSON.parse(row?.value ?? '')).toEqual({ group: 'test', permits: [] });
    expect(pods.database.keys({ prefix: '__caller=', limit: 9 })).toEqual([]);
  });
});
