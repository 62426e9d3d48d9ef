import { describe, expect, it } from '@jest/globals';
import { Subject } from 'rxjs';
import { SILENT } from '../../common/line-logger.js';
import type { ClusterService, ClusterView } from '../../membership/cluster.service.js';
import type { LeaderService } from '../../election/leader.service.js';
import type { FoundLifecycleCallback } from './discovery.js';
import { registerLifecycleCallbacks } from './lifecycle-callbacks.js';

function viewOf(version: number, settled: boolean, incarnations: string[]): ClusterView {
  const members = incarnations.map((incarnation) => ({ address: `${incarnation}:1`, incarnation, confirmed: settled }));
  return { epoch: 1n, version, settled, leader: members[0], members };
}

describe('@OnMembersChange', () => {
  it('runs once for each change of the members, and not for another view of the same ones', () => {
    const changes$ = new Subject<ClusterView>();
    const seen: number[] = [];
    const call = (view: unknown): void => void seen.push((view as ClusterView).version);
    const notice = { kind: 'members-change', place: 'Test.method', call } as unknown as FoundLifecycleCallback;
    registerLifecycleCallbacks([notice], {} as LeaderService, { changes$ } as unknown as ClusterService, SILENT);
    changes$.next(viewOf(1, false, ['a', 'b']));
    changes$.next(viewOf(2, true, ['a', 'b']));
    changes$.next(viewOf(3, true, ['a', 'b2']));
    changes$.next(viewOf(4, true, ['a']));
    changes$.next(viewOf(4, false, ['a']));
    expect(seen).toEqual([1, 3, 4]);
  });
});
