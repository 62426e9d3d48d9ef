import { leaseName } from '../../database/row-names.js';
import type { PermitTable, SemaphoreRow, SemaphoreWriteResult } from '../../database/permit-table.js';
import type { Clock } from '../../common/clock.js';
import { HedgeError, messageOf } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { Encoded, IncomingRequest } from '../../messaging/message.js';
import { notLeading } from '../../messaging/leader-route.js';
import {
  ACQUIRE,
  RELEASE,
  RENEW,
  decodeAcquire,
  decodeRelease,
  decodeRenewal,
  decodeResize,
  replyOf,
} from '../semaphore-wire.js';
import { notWanted } from '../semaphore-errors.js';
import { SemaphoreQueue } from './semaphore-queue.core.js';
import type { SemaphoreEffect, SemaphoreInput, SemaphoreOutcome } from './semaphore-queue.messages.js';
import type { SemaphoreTiming } from '../semaphore-timing.js';

export interface SemaphoreServerOptions {
  readonly table: PermitTable;
  readonly clock: Pick<Clock, 'now' | 'after'>;
  /** The election lease of this group fences every write. */
  readonly group: string;
  /** The advertised address of this pod, for the leader column. A function, because the port may be chosen at start. */
  readonly address: () => string;
  readonly timing: SemaphoreTiming;
  /** The number of callers in all queues together. More are rejected with OVERLOADED. */
  readonly maxWaiting: number;
  readonly logger: { warn(message: string): void };
  /** Runs a function at the end of this event-loop turn. Default: `setImmediate`. */
  readonly soon?: (run: () => void) => void;
  readonly random?: () => number;
  /** Default: `SemaphoreQueue`. */
  readonly queue?: (...made: ConstructorParameters<typeof SemaphoreQueue>) => SemaphoreQueue;
}

/** One semaphore, as the leader knows it. */
export interface SemaphoreUse {
  readonly name: string;
  /** 0 until the leader has read the row of the semaphore. */
  readonly limit: number;
  /** The permits that all pods hold together. */
  readonly held: number;
  /** The callers of all pods that wait for permits. */
  readonly waiting: number;
}

type Settle = (outcome: SemaphoreOutcome | HedgeError) => void;

interface Entry {
  readonly name: string;
  readonly queue: SemaphoreQueue;
  cancelWake: () => void;
}

/** The semaphores of one term of this pod as leader. */
interface SemaphoreTerm {
  readonly epoch: bigint;
  readonly since: number;
  readonly entries: Map<string, Entry>;
}

/**
 * Runs the `SemaphoreQueue`s of the leader: answers the requests of the members, and reads and writes the permit table.
 * Its state ends with the term; the next leader finds the permits in the rows.
 */
export class SemaphoreServer {
  readonly #options: SemaphoreServerOptions;
  readonly #settles = new Map<number, Settle>();
  #term: SemaphoreTerm | undefined;
  #tickets = 0;
  #outageLogged = false;

  constructor(options: SemaphoreServerOptions) {
    this.#options = options;
  }

  /** This pod leads from now on. To call before the first request of that term. */
  elected(epoch: bigint): void {
    this.end();
    this.#outageLogged = false;
    this.#term = { epoch, since: this.#now(), entries: new Map() };
  }

  /**
   * This pod drains: waiting callers are sent to the next leader, and the request layer rejects new ones. Renewals and
   * releases are answered until `end`, because draining work may outlast a permit that is not renewed, and may wait for
   * its own release.
   */
  drain(): void {
    for (const entry of this.#term?.entries.values() ?? []) this.#step(entry, { type: 'drain', error: notLeading() });
  }

  /** The term is over: waiting callers are sent to the next leader. Idempotent. */
  end(): void {
    const term = this.#term;
    this.#term = undefined;
    for (const entry of term?.entries.values() ?? []) this.#step(entry, { type: 'end', error: notLeading() });
  }

  /**
   * Handles a request of one of `SEMAPHORE_REQUESTS`. It calls back exactly once, also when the caller cancels the
   * request: until then the request layer counts the request as running, and a drain waits for it.
   */
  handle(request: IncomingRequest, done: (reply: Encoded) => void, failed: (error: HedgeError) => void): void {
    const term = this.#term;
    if (term?.epoch !== request.epoch) {
      return failed(notLeading());
    }
    const settle: Settle = (outcome) => {
      if (outcome instanceof HedgeError) failed(outcome);
      else done(replyOf(outcome));
    };
    try {
      this.#dispatch(term, request, settle);
    } catch (error) {
      failed(error instanceof HedgeError ? error : new HedgeError('INVALID_ARGUMENT', messageOf(error)));
    }
  }

  /** The newest link from that member broke: it is granted nothing until it is heard again. */
  unlinked(holder: MemberId): void {
    for (const entry of this.#term?.entries.values() ?? []) this.#step(entry, { type: 'unlinked', holder });
  }

  /** The semaphores in use in this term; none while this pod does not lead. */
  *semaphores(): Generator<SemaphoreUse> {
    for (const { name, queue } of this.#term?.entries.values() ?? []) {
      let held = 0;
      for (const { permits } of queue.state?.held.values() ?? []) held += permits;
      yield { name, limit: queue.state?.limit ?? 0, held, waiting: queue.waiting };
    }
  }

  #dispatch(term: SemaphoreTerm, request: IncomingRequest, settle: Settle): void {
    const { caller, payload } = request;
    const { kind } = request.type;
    if (kind === ACQUIRE.kind) {
      this.#acquire(term, request, settle);
    } else if (kind === RELEASE.kind) {
      const { name, id } = decodeRelease(payload.bytes);
      this.#step(this.#entry(term, name), { type: 'release', ticket: this.#ticket(settle), id, holder: caller });
    } else if (kind === RENEW.kind) {
      this.#renew(term, decodeRenewal(payload.bytes), caller, settle);
    } else {
      const { name, limit } = decodeResize(payload.bytes);
      this.#step(this.#entry(term, name), { type: 'resize', ticket: this.#ticket(settle), limit });
    }
  }

  #acquire(term: SemaphoreTerm, { payload, caller, timeoutMs, signal }: IncomingRequest, settle: Settle): void {
    const { name, ...claim } = decodeAcquire(payload.bytes, caller, timeoutMs);
    this.#checkWaiting(term, name);
    const entry = this.#entry(term, name);
    const ticket = this.#ticket(settle);
    this.#step(entry, { type: 'acquire', ticket, claim });
    const abandon = (): void => {
      if (!this.#settles.delete(ticket)) return;
      this.#step(entry, { type: 'abandoned', ticket });
      settle(notWanted(name));
    };
    signal.addEventListener('abort', abandon, { once: true });
  }

  /**
   * One renewal names permits of several semaphores, and is answered when all queues have answered. Permits in a row that
   * cannot be read are lost; they must not affect the others.
   */
  #renew(term: SemaphoreTerm, ids: ReadonlyMap<string, readonly string[]>, holder: MemberId, settle: Settle): void {
    let left = ids.size;
    const unknown: string[] = [];
    let failure: HedgeError | undefined;
    const answered = (own: readonly string[], outcome: Parameters<Settle>[0]): void => {
      left -= 1;
      if (outcome instanceof HedgeError && outcome.code === 'CONFLICT') unknown.push(...own);
      else if (outcome instanceof HedgeError) failure = outcome;
      else if (outcome.type === 'renewed') unknown.push(...outcome.unknown);
      if (left === 0) settle(failure ?? { type: 'renewed', unknown });
    };
    for (const [name, own] of ids) {
      const ticket = this.#ticket((outcome) => answered(own, outcome));
      this.#step(this.#entry(term, name), { type: 'renew', ticket, ids: own, holder });
    }
    if (ids.size === 0) settle({ type: 'renewed', unknown });
  }

  #checkWaiting({ entries }: SemaphoreTerm, name: string): void {
    let waiting = 0;
    for (const { queue } of entries.values()) waiting += queue.waiting;
    if (waiting < this.#options.maxWaiting) return;
    throw new HedgeError(
      'OVERLOADED',
      `Semaphore "${name}" was not acquired: ${waiting} callers already wait for permits. Try again later, or raise limits.maxRunning: half as many may wait.`,
    );
  }

  #ticket(settle: Settle): number {
    this.#tickets += 1;
    this.#settles.set(this.#tickets, settle);
    return this.#tickets;
  }

  #entry(term: SemaphoreTerm, name: string): Entry {
    let entry = term.entries.get(name);
    if (entry === undefined) {
      const { group, timing, queue = (...made) => new SemaphoreQueue(...made) } = this.#options;
      this.#forgetIdle(term);
      entry = { name, queue: queue({ group, name }, timing, term.since), cancelWake: () => undefined };
      term.entries.set(name, entry);
    }
    return entry;
  }

  /** Removes queues that were idle for a while. Keeping them saves a read of the row. */
  #forgetIdle({ entries }: SemaphoreTerm): void {
    const now = this.#now();
    for (const [name, { queue, cancelWake }] of entries) {
      if (now - (queue.idleSince ?? Infinity) < this.#options.timing.permitMs) continue;
      cancelWake();
      entries.delete(name);
    }
  }

  #now(): number {
    return this.#options.clock.now().mono;
  }

  #step(entry: Entry, input: SemaphoreInput): void {
    const now = this.#now();
    for (const effect of entry.queue.step(input, now)) this.#perform(entry, effect, now);
  }

  #perform(entry: Entry, effect: SemaphoreEffect, now: number): void {
    switch (effect.type) {
      case 'settle': {
        const settle = this.#settles.get(effect.ticket);
        this.#settles.delete(effect.ticket);
        return settle?.(effect.outcome);
      }
      case 'wake': {
        entry.cancelWake();
        const flush = (): void => this.#step(entry, { type: 'flush', unseenForMs: this.#unseenForMs() });
        const { clock, soon = setImmediate } = this.#options;
        if (effect.at > now) entry.cancelWake = clock.after(effect.at - now, flush);
        // By then all requests of one network message have been handled.
        else soon(flush);
        return;
      }
      case 'read':
        this.#options.table.read(entry.name).then(
          (row: SemaphoreRow | undefined) =>
            this.#answered(entry, { type: 'read', row, unseenForMs: this.#unseenForMs() }),
          (error: unknown) => this.#failed(entry, error),
        );
        return;
      case 'write':
        return this.#write(entry, effect);
    }
  }

  #write(entry: Entry, effect: Extract<SemaphoreEffect, { type: 'write' }>): void {
    const { follows, limit, value, holders, permits } = effect;
    const { table, group, address } = this.#options;
    const lease = leaseName(group);
    const token = this.#term?.epoch ?? 0n;
    table
      .write({ name: entry.name, follows, limit, value, holders, permits, leader: address() }, { lease, token })
      .then(
        (result: SemaphoreWriteResult) =>
          this.#answered(entry, { type: 'written', result, unseenForMs: this.#unseenForMs() }),
        (error: unknown) => this.#failed(entry, error),
      );
  }

  #unseenForMs(): number {
    const { table, timing } = this.#options;
    return table.unseenForMs?.(timing.permitMs) ?? 0;
  }

  #answered(entry: Entry, input: SemaphoreInput): void {
    // A successful read does not show that writes work, as on a full disk.
    if (input.type === 'written') this.#outageLogged = false;
    this.#step(entry, input);
  }

  /** Logs the beginning of an outage. It is over after a successful write, or when the term ends. */
  #failed(entry: Entry, error: unknown): void {
    if (!this.#outageLogged) {
      this.#options.logger.warn(`Semaphore "${entry.name}" cannot be read or written, retrying: ${messageOf(error)}`);
    }
    this.#outageLogged = true;
    const { random = Math.random } = this.#options;
    this.#step(entry, { type: 'failed', error, random: random() });
  }
}
