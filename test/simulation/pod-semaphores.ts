import type { PermitTable, SemaphoreWriteResult } from '../../libs/hedge/src/database/permit-table.js';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { HeldPermits } from '../../libs/hedge/src/semaphores/client/held-permits.core.js';
import type { PermitHandle } from '../../libs/hedge/src/semaphores/client/permit.js';
import { SemaphoreClient } from '../../libs/hedge/src/semaphores/client/semaphore-client.runner.js';
import { SEMAPHORE_REQUESTS } from '../../libs/hedge/src/semaphores/semaphore-wire.js';
import { SemaphoreServer } from '../../libs/hedge/src/semaphores/server/semaphore-server.runner.js';
import { releaseRequest } from '../../libs/hedge/src/semaphores/semaphore-wire.js';
import type { Cluster } from './cluster.js';
import { later } from './later.js';
import type { MessagingHost, PodMessaging } from './pod-messaging.js';
import { SIMULATED_GROUP, type SemaphoreNeed } from './semaphore-oracle.js';

const MAX_WAITING = 6;

/** The semaphores of one process: the real server and client, on simulated messages and a simulated database. */
export class PodSemaphores {
  readonly #server: SemaphoreServer;
  readonly #client: SemaphoreClient;
  readonly #heldPermits: HeldPermits;
  #ids = 0;

  constructor(
    private readonly host: MessagingHost,
    private readonly messaging: PodMessaging,
    private readonly cluster: Cluster,
  ) {
    const { parts, random, world } = cluster;
    const { self } = host;
    const timing = cluster.semaphoreTiming;
    const clock = { now: () => host.now(), after: (ms: number, run: () => void) => host.after(ms, run) };
    this.#server = new SemaphoreServer({
      table: this.#table(),
      clock,
      group: SIMULATED_GROUP,
      address: () => self.address,
      timing,
      maxWaiting: MAX_WAITING,
      logger: { warn: (message) => world.note(self.incarnation, () => message) },
      soon: (run) => void host.after(0, run),
      random: random.next,
      queue: (...made) => parts.semaphoreQueue(...made),
    });
    for (const type of SEMAPHORE_REQUESTS) {
      messaging.serve(type, (request, done, failed) => this.#server.handle(request, done, failed));
    }
    messaging.callerLost = (caller) => this.#server.unlinked(caller);
    this.#heldPermits = parts.heldPermits(timing);
    this.#client = new SemaphoreClient({
      messenger: messaging,
      clock,
      timing,
      newId: () => `${self.incarnation}-${(this.#ids += 1)}`,
      makeHeldPermits: () => this.#heldPermits,
    });
  }

  elected(token: bigint): void {
    this.#server.elected(token);
  }

  draining(): void {
    this.#server.drain();
  }

  ended(): void {
    this.#server.end();
  }

  /** The result of `isValid()` now, without a call of it. */
  holds(id: string): boolean {
    return this.host.alive && this.#heldPermits.holds(id, this.host.now());
  }

  acquire(
    need: SemaphoreNeed,
    { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal },
    ended: (result: PermitHandle | undefined | Error) => void,
  ): void {
    const callbacks = { resolve: ended, reject: (error: unknown) => ended(error as Error) };
    this.#client.acquire({ ...need, timeoutMs, signal }, callbacks);
  }

  /** Sends a release of permits that this pod does not hold, as a pod with a bug might. */
  releaseForeign(name: string, id: string): void {
    this.messaging.request({ ...releaseRequest(name, id), timeoutMs: 2_000 }).then(
      () => this.cluster.world.count('semaphores: foreign release came too late'),
      (error: unknown) => {
        if (error instanceof HedgeError && error.code === 'INVALID_ARGUMENT') {
          this.cluster.world.count('semaphores: foreign release refused');
        }
      },
    );
  }

  #table(): PermitTable {
    const { connection, semaphoreRows, semaphores } = this.cluster;
    const { driver } = this.host;
    const call = <Result>(effect: () => Result | HedgeError): Promise<Result> =>
      later((resolve, reject) =>
        connection.call(this.cluster.thread(this.host.self.address), driver.call(effect), (outcome) => {
          if (!this.host.alive) return;
          if (outcome.type !== 'done') return reject(new HedgeError('BACKEND_UNAVAILABLE', 'simulated'));
          if (outcome.result === 'replaced') {
            driver.replaced();
            return reject(new HedgeError('BACKEND_UNAVAILABLE', 'replaced'));
          }
          if (outcome.result instanceof HedgeError) return reject(outcome.result);
          resolve(outcome.result);
        }),
      );
    return {
      unseenForMs: () => driver.permitsUnseenForMs,
      read: (name) => call(() => semaphoreRows.read(name)),
      write: (write, fence) => {
        semaphores.decided(write, this.host.self);
        const unaware = this.#isUnaware(fence.token);
        return call<SemaphoreWriteResult>(() => {
          const before = semaphoreRows.read(write.name);
          const result = semaphoreRows.write(write, fence.token);
          if ('written' in result && result.written) semaphores.written(write, before, unaware);
          return result;
        });
      },
    };
  }

  /** Whether this leader was elected after the database lost commits, and its driver has not noticed that. */
  #isUnaware(token: bigint): boolean {
    const { history } = this.cluster.leadership;
    const beganAfterLoss = history.beganAfterLoss({ incarnation: this.host.self.incarnation, token });
    return beganAfterLoss && this.host.driver.permitsUnseenForMs === 0;
  }
}
