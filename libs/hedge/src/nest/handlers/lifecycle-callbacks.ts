import { distinctUntilChanged, Subscription } from 'rxjs';
import { inFreshContext } from '../../common/async/async-context.js';
import type { Logger } from '../../common/line-logger.js';
import { RunningWork } from '../../common/running-work.js';
import type { ClusterService, ClusterView } from '../../membership/cluster.service.js';
import type { LeaderTask } from '../../election/leadership.js';
import type { LeaderService } from '../../election/leader.service.js';
import type { FoundLifecycleCallback } from './discovery.js';

/**
 * Calls the methods decorated with `@OnLeaderChange`, `@OnMembersChange` and `@WhileLeader` from now on.
 * @returns a function that stops the calls of the first two, and resolves when none of them runs.
 */
export function registerLifecycleCallbacks(
  notices: readonly FoundLifecycleCallback[],
  leader: LeaderService,
  cluster: ClusterService,
  logger: Logger,
): () => Promise<void> {
  const subscriptions = new Subscription();
  const running = new RunningWork();
  for (const notice of notices) {
    const run = async (argument: unknown): Promise<void> => {
      running.begin();
      try {
        await inFreshContext(() => notice.call(argument));
      } catch (error) {
        logger.error(`${notice.place} failed: ${String(error)}`, error instanceof Error ? error.stack : undefined);
      } finally {
        running.end();
      }
    };
    const call = (argument: unknown): void => void run(argument);
    switch (notice.kind) {
      case 'leader-change':
        subscriptions.add(leader.changes$.subscribe(call));
        break;
      case 'members-change':
        subscriptions.add(cluster.changes$.pipe(distinctUntilChanged(haveSameMembers)).subscribe(call));
        break;
      case 'while-leader':
        leader.runWhileLeader(named(notice.place, (leadership) => notice.call(leadership)));
        break;
    }
  }
  return async () => {
    subscriptions.unsubscribe();
    await running.ended();
  };
}

/** A change of leader makes a new view, unsettled and then settled, of the same members. */
function haveSameMembers(a: ClusterView, b: ClusterView): boolean {
  return incarnations(a) === incarnations(b);
}

function incarnations({ members }: ClusterView): string {
  return members.map(({ incarnation }) => incarnation).join(' ');
}

/** Sets the name of the task, which log lines show. */
function named(name: string, task: LeaderTask): LeaderTask {
  return Object.defineProperty(task, 'name', { value: name });
}
