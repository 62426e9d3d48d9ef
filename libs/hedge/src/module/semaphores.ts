import { onAbort } from '../common/on-abort.js';
import type { LeaseTable } from '../backend/lease.js';
import type { PermitTable } from '../backend/permits.js';
import type { Clock } from '../common/clock.js';
import type { StartGate } from '../common/start-gate.js';
import type { Timing } from '../common/timing.js';
import type { LeadershipSource } from '../leader/leadership.js';
import type { Messenger } from '../messaging/messenger.js';
import { releaseWithoutLeader } from '../semaphore/last-release.js';
import { PermitHolder } from '../semaphore/permit-holder.js';
import { SEMAPHORE_REQUESTS, SemaphoreArbiter } from '../semaphore/semaphore-arbiter.js';
import { semaphoreTiming } from '../semaphore/semaphore-timing.js';
import { SemaphoreService } from '../semaphore/semaphore.service.js';

export interface SemaphorePartsDeps {
  readonly gate: StartGate;
  readonly table: PermitTable;
  readonly leases: LeaseTable;
  readonly clock: Clock;
  readonly timing: Timing;
  readonly messenger: Messenger;
  readonly leadership: LeadershipSource;
  readonly group: string;
  readonly address: () => string;
  readonly maxRunning: number;
  readonly logger: { warn(message: string): void };
  readonly defaultTimeoutMs: number;
}

export interface SemaphoreParts {
  readonly arbiter: SemaphoreArbiter;
  readonly holder: PermitHolder;
  readonly service: SemaphoreService;
}

/** Both sides of semaphores on one pod: what it does while it leads, and what it holds itself. */
export function makeSemaphores(deps: SemaphorePartsDeps): SemaphoreParts {
  const { table, leases, clock, messenger, leadership, group, address, logger, defaultTimeoutMs } = deps;
  const timing = semaphoreTiming(deps.timing);
  // Below what the request layer lets in, so that a refusal here names the semaphore.
  const maxWaiting = Math.ceil(deps.maxRunning / 2);
  const arbiter = new SemaphoreArbiter({ table, clock, group, address, timing, maxWaiting, logger });
  for (const kind of SEMAPHORE_REQUESTS) {
    messenger.serve(kind, (request) => new Promise((resolve, reject) => arbiter.take(request, resolve, reject)));
  }
  leadership.onElected(({ fencingToken, signal }) => {
    arbiter.elected(fencingToken);
    onAbort(signal, () => arbiter.end());
  });
  leadership.onDrain(async () => arbiter.drain());
  const holder = new PermitHolder({
    messenger,
    clock,
    timing,
    releaseWithoutLeader: (name, ids) => releaseWithoutLeader({ table, leases, group, address }, name, ids),
  });
  return {
    arbiter,
    holder,
    service: new SemaphoreService({ gate: deps.gate, holder, table, group, defaultTimeoutMs }),
  };
}
