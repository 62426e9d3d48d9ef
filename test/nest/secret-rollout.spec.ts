import { Controller } from '@nestjs/common';
import type { INestApplicationContext } from '@nestjs/common';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { ClusterService, LeaderService, OnBroadcast, OnLeaderMessage } from 'nestjs-hedge';
import type { HedgeOptions } from 'nestjs-hedge';
import { Pods, until } from './apps.js';

const NEW = 'the new secret of the group';

@Controller()
class Handlers {
  @OnBroadcast('ping') ping() {
    return 'pong';
  }
  @OnLeaderMessage('ask') ask() {
    return 'answer';
  }
}

let pods: Pods;
beforeEach(() => {
  pods = new Pods({ controllers: [Handlers] }, { shutdown: { drainMs: 100 } });
});
afterEach(() => pods.close());

/** Each pod reaches each other pod by a link of its own, and asks the leader. */
async function allReachEachOther(): Promise<void> {
  const size = pods.apps.length;
  await until(
    () =>
      pods.apps.every((app) => {
        const { view } = app.get(ClusterService);
        return view !== undefined && view.settled && view.members.length === size;
      }),
    `${size} pods know each other`,
  );
  for (const app of pods.apps) {
    const replies = await app.get(ClusterService).broadcast('ping', {}, { timeoutMs: 10_000 });
    expect(replies).toHaveLength(size);
    expect(replies.map(({ value, error }) => error?.message ?? value)).toEqual(replies.map(() => 'pong'));
    expect(await app.get(LeaderService).send('ask', {})).toBe('answer');
  }
}

/** Replaces the pods one after the other. Each new one starts before an old one stops. */
async function rollOut(secret: HedgeOptions['secret']): Promise<void> {
  for (const old of pods.apps.slice()) {
    await pods.start({ secret });
    await allReachEachOther();
    await stop(old);
    await allReachEachOther();
  }
}

async function stop(app: INestApplicationContext): Promise<void> {
  pods.apps.splice(pods.apps.indexOf(app), 1);
  await app.close();
}

it.each<[string, HedgeOptions['secret'][], HedgeOptions['secret']]>([
  ['from the stored secret to the option', [undefined, ['stored', NEW], [NEW, 'stored'], NEW], undefined],
  ['from the option to the stored secret', [NEW, [NEW, 'stored'], ['stored', NEW], undefined], NEW],
])(
  'a group moves %s in rolling updates in which all pods reach each other',
  async (_, [first, ...rollOuts], left) => {
    await pods.start({ secret: first });
    await pods.start({ secret: first });
    await allReachEachOther();
    for (const secret of rollOuts) await rollOut(secret);

    const late = await pods.start({ secret: left });
    await expect(late.get(LeaderService).send('ask', {}, { timeoutMs: 5_000 })).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
    });
  },
  120_000,
);
