import { hostname } from 'node:os';
import { VERSION } from '../common/version.js';
import { MOST_LISTED, timeOfToken, type LeaderState, type PodState, type ViewState } from '../inspection/pod-state.js';
import type { LockManager } from '../locks/lock.runner.js';
import type { View } from '../membership/view.js';
import type { LeaderBelief } from '../messaging/leader-route.js';
import type { SemaphoreServer } from '../semaphores/server/semaphore-server.runner.js';
import type { SpillRuntime } from '../spill/service/spill-runtime.js';
import type { ElectionPart, MessagingPart, NetworkPart, PodContext } from './parts.js';
import type { HedgeReadiness } from './readiness.js';

/** The parts of a pod whose state an inspection shows. */
export interface InspectedParts {
  readonly context: PodContext;
  readonly network: NetworkPart;
  readonly election: ElectionPart;
  readonly messaging: MessagingPart;
  readonly locks: LockManager;
  readonly semaphores: SemaphoreServer;
  readonly spill: SpillRuntime;
  readonly readiness: HedgeReadiness;
}

/** @returns a function that reads the state of this pod. It makes no call to the database or the network. */
export function podStateReader(parts: InspectedParts): () => PodState {
  const { context, network, election, messaging, readiness } = parts;
  const { settings, clock, stalls } = context;
  const { group, mode, appVersion, timing } = settings;
  const startedAt = iso(clock.now().wall);
  return () => {
    const leads = election.elector.isLeader();
    const belief = election.elector.current();
    const lease = election.elector.heldLease;
    const { view, settled } = election.membership;
    const { ready, backendReachable, viewSettled, stopping } = readiness.check();
    const links = listed(network.transport.links(), ({ peer, direction }) => ({ peer: { ...peer }, direction }));
    const locks = listed(parts.locks.locks(), ({ name, token, waiting }) => ({
      name,
      ...(token !== undefined && { token: String(token) }),
      waiting,
    }));
    const handled = messaging.figures.state();
    const semaphores = listed(parts.semaphores.semaphores(), (one) => one);
    const { count, longestMs } = stalls.figures;
    return {
      group,
      member: { ...network.transport.self },
      role: leads ? 'leader' : mode === 'member' ? 'follower' : 'client',
      version: VERSION,
      ...(appVersion !== undefined && { appVersion }),
      process: { pid: process.pid, host: hostname(), node: process.version, startedAt },
      at: iso(clock.now().wall),
      timing: { ...timing },
      health: { ready, backendReachable, viewSettled, stopping },
      ...(belief && { leader: leaderState(belief) }),
      terms: election.terms.terms.map(leaderState),
      ...(lease && { lease: { leftMs: Math.round(lease.leftMs), renewals: Number(lease.renewals) } }),
      ...(view && { view: viewState(view, settled) }),
      linkCount: links.count,
      links: links.list,
      topics: messaging.topics(),
      handled,
      lockCount: locks.count,
      locks: locks.list,
      semaphoreCount: semaphores.count,
      semaphores: semaphores.list,
      eventLoop: { delayMs: stalls.delayMs, stalls: count, longestStallMs: longestMs },
      spill: spillState(parts.spill),
    };
  };
}

function leaderState({ leader, epoch }: LeaderBelief): LeaderState {
  return { member: { ...leader }, token: String(epoch), since: timeOfToken(epoch) };
}

function viewState({ epoch, version, members }: View, settled: boolean): ViewState {
  return {
    epoch: String(epoch),
    version,
    settled,
    members: members.map(({ address, incarnation, confirmed }) => ({ address, incarnation, confirmed })),
  };
}

function spillState(spill: SpillRuntime): PodState['spill'] {
  const held = listed(spill.held(), ({ owner, part }) => {
    const { memory, disk } = part.usage();
    return {
      ...(owner && { owner: { address: owner.address, incarnation: owner.incarnation } }),
      name: part.id.name,
      memoryBytes: memory.bytes,
      diskBytes: disk.bytes,
      records: memory.records + disk.records,
    };
  });
  const { used, free } = spill.space ?? { used: NO_SPACE, free: NO_SPACE };
  return {
    memory: { usedBytes: used.memory, freeBytes: free.memory },
    disk: { usedBytes: used.disk, freeBytes: free.disk },
    heldCount: held.count,
    held: held.list,
  };
}

const NO_SPACE = { memory: 0, disk: 0 };

/** Counts all items, and shows the first ones. */
function listed<Item, Shown>(
  items: Iterable<Item>,
  show: (item: Item) => Shown,
): { readonly count: number; readonly list: readonly Shown[] } {
  const list: Shown[] = [];
  let count = 0;
  for (const item of items) if ((count += 1) <= MOST_LISTED) list.push(show(item));
  return { count, list };
}

function iso(wallMs: number): string {
  return new Date(wallMs).toISOString();
}
