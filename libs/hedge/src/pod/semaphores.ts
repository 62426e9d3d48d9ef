import { onAbort } from '../common/async/on-abort.js';
import type { LeaseTable } from '../database/lease-table.js';
import type { PermitTable } from '../database/permit-table.js';
import type { Clock } from '../common/clock.js';
import type { StartGate } from '../common/async/start-gate.js';
import type { Timing } from '../common/timing.js';
import type { LeadershipSource } from '../election/leadership.js';
import type { Messenger } from '../messaging/messenger.js';
import { releaseWithoutLeader } from '../semaphores/server/last-release.js';
import { SemaphoreClient } from '../semaphores/client/semaphore-client.runner.js';
import { SEMAPHORE_REQUESTS } from '../semaphores/semaphore-wire.js';
import { SemaphoreServer } from '../semaphores/server/semaphore-server.runner.js';
import { semaphoreTiming } from '../semaphores/semaphore-timing.js';
import { SemaphoreService } from '../semaphores/semaphore.service.js';

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
  readonly arbiter: SemaphoreServer;
  readonly holder: SemaphoreClient;
  readonly service: SemaphoreService;
}

/** Both sides of semaphores on one pod: what it does while it leads, and what it holds itself. */
export function makeSemaphores(deps: SemaphorePartsDeps): SemaphoreParts {
  const { table, leases, clock, messenger, leadership, group, address, logger, defaultTimeoutMs } = deps;
  const timing = semaphoreTiming(deps.timing);
  // Below what the request layer lets in, so that a refusal here names the semaphore.
  const maxWaiting = Math.ceil(deps.maxRunning / 2);
  const arbiter = new SemaphoreServer({ table, clock, group, address, timing, maxWaiting, logger });
  for (const type of SEMAPHORE_REQUESTS) {
    messenger.serve(type, (request) => new Promise((resolve, reject) => arbiter.handle(request, resolve, reject)));
  }
  leadership.onElected(({ fencingToken, signal }) => {
    arbiter.elected(fencingToken);
    onAbort(signal, () => arbiter.end());
  });
  leadership.onDrain(async () => arbiter.drain());
  const holder = new SemaphoreClient({
    messenger,
    clock,
    timing,
    releaseWithoutLeader: (name, ids) => releaseWithoutLeader({ table, leases, group, address }, name, ids),
  });
  return {
    arbiter,
    holder,
    service: new SemaphoreService({ gate: deps.gate, client: holder, table, group, defaultTimeoutMs }),
  };
}
