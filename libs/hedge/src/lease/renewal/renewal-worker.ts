import { Worker } from 'node:worker_threads';
import type { WorkerBackend } from '../../database/backend.js';
import { backoffMs } from '../../common/backoff.js';
import type { Clock } from '../../common/clock.js';
import { HedgeError, messageOf } from '../../common/errors.js';
import type { Timing } from '../../common/timing.js';
import type { Liveness } from './liveness.js';
import type { FromRenewalThread, RenewalThreadData, ToRenewalThread } from './renewal.messages.js';
import { type Metrics, NO_METRICS } from '../../telemetry/metrics.js';
import { reportRenewal } from './report-renewal.js';
import { SharedTerm } from './shared-term.js';
import type { RenewedLease, TermRenewer } from './term-renewer.js';

export interface RenewalWorkerOptions {
  readonly backend: WorkerBackend;
  readonly timing: Timing;
  readonly maxStallMs: number;
  readonly liveness: Liveness;
  readonly clock: Clock;
  readonly logger: { warn(message: string): void };
  readonly metrics?: Metrics | undefined;
  /** Replaced in tests. */
  readonly startThread?: (data: RenewalThreadData) => Worker;
}

interface HeldTerm {
  readonly id: number;
  readonly lease: RenewedLease;
  readonly shared: SharedTerm;
  /** The highest token above its own that was heard during the term. A thread that replaces a dead one must hear it, too. */
  heard: (ToRenewalThread & { readonly type: 'heard' }) | undefined;
}

/**
 * The main thread's side of the renewal thread, which renews the terms of this process over connections of its own. If the
 * thread dies, another one continues with higher numbers.
 *
 * @example
 * const renewer = new RenewalWorker({ backend, timing, maxStallMs: 16_000, liveness, clock, logger });
 * await renewer.start();
 */
export class RenewalWorker implements TermRenewer {
  readonly #options: RenewalWorkerOptions;
  /** By name and token of the lease. */
  readonly #terms = new Map<string, HeldTerm>();
  readonly #byId = new Map<number, HeldTerm>();
  #lastId = 0;
  /** Settles with the start, and never rejects. */
  #starting: Promise<void> | undefined;
  #thread: Worker | undefined;
  #deaths = 0;
  #cancelRestart: () => void = () => undefined;

  constructor(options: RenewalWorkerOptions) {
    this.#options = options;
  }

  /**
   * Resolves when the thread has loaded the driver.
   * @throws HedgeError INVALID_OPTIONS when it cannot
   */
  start(): Promise<void> {
    const started = this.#start();
    this.#starting = started.catch(() => undefined);
    return started;
  }

  #start(): Promise<void> {
    return new Promise((resolve, reject) => {
      const refuse = (why: string): void => {
        reject(
          new HedgeError(
            'INVALID_OPTIONS',
            `The worker thread of renewal: 'worker' cannot start: ${why}. If a bundler moved the library, keep nestjs-hedge external in its configuration. Else set renewal: 'main'.`,
          ),
        );
      };
      let thread: Worker;
      try {
        thread = this.#startThread();
      } catch (error) {
        return refuse(messageOf(error));
      }
      thread.once('message', () => {
        thread.off('error', died);
        thread.off('exit', ended);
        this.#run(thread);
        resolve();
      });
      const died = (error: unknown): void => refuse(messageOf(error));
      const ended = (code: number): void => refuse(`it ended with code ${code}`);
      thread.once('error', died);
      thread.once('exit', ended);
    });
  }

  hold(lease: RenewedLease): void {
    this.#lastId += 1;
    const { name, term } = lease;
    const held: HeldTerm = { id: this.#lastId, lease, shared: new SharedTerm(), heard: undefined };
    this.#terms.set(keyOf(name, term.token), held);
    this.#byId.set(held.id, held);
    this.#postTerm(held);
  }

  renewed(name: string, token: bigint): ReturnType<TermRenewer['renewed']> {
    return this.#terms.get(keyOf(name, token))?.shared.renewed();
  }

  drop(name: string, token: bigint): void {
    const held = this.#terms.get(keyOf(name, token));
    if (held === undefined) return;
    held.shared.drop();
    this.#terms.delete(keyOf(name, token));
    this.#byId.delete(held.id);
    this.#post({ type: 'drop', id: held.id });
  }

  heard(name: string, token: bigint, leaseMs: number): void {
    const message = { type: 'heard', name, token, leaseMs } as const;
    for (const held of this.#byId.values()) {
      if (held.lease.name === name && token > (held.heard?.token ?? held.lease.term.token)) held.heard = message;
    }
    this.#post(message);
  }

  /** Ends the thread: no term is renewed from now on. Resolves within twice `backendTimeoutMs`, after a start in progress. Idempotent. */
  async close(): Promise<void> {
    this.#cancelRestart();
    for (const { lease } of this.#byId.values()) this.drop(lease.name, lease.term.token);
    await this.#starting;
    const thread = this.#thread;
    this.#thread = undefined;
    if (thread !== undefined) await this.#end(thread);
  }

  /** Lets the thread end its calls: libsql aborts the whole process when its thread is terminated during a call. */
  #end(thread: Worker): Promise<void> {
    return new Promise<void>((resolve) => {
      const { clock, timing } = this.#options;
      const cancel = clock.after(2 * timing.backendTimeoutMs, () => void thread.terminate(), true);
      thread.once('exit', () => (cancel(), resolve()));
      // The process must not end during such a call either.
      thread.ref();
      thread.postMessage({ type: 'end' } satisfies ToRenewalThread, []);
    });
  }

  #startThread(): Worker {
    const { backend, timing, maxStallMs, liveness, startThread = startRenewalThread } = this.#options;
    return startThread({ backend, timing, maxStallMs, liveness: liveness.memory });
  }

  /** The thread has loaded the driver. */
  #run(thread: Worker): void {
    this.#thread = thread;
    // Timers of held leases do not keep the process alive either.
    thread.unref();
    let why = '';
    thread.on('message', (message: FromRenewalThread) => this.#receive(message));
    thread.on('error', (error) => (why = messageOf(error)));
    thread.on('exit', (code) => {
      if (this.#thread !== thread) return;
      this.#thread = undefined;
      this.#deaths += 1;
      this.#restart(why === '' ? `it ended with code ${code}` : why);
    });
    for (const held of this.#byId.values()) this.#postTerm(held);
  }

  #restart(why: string): void {
    const { clock, timing, logger } = this.#options;
    const pauseMs = backoffMs(this.#deaths, timing.retryMs, 4 * timing.retryMs, Math.random());
    logger.warn(
      `The thread that renews the leases of this pod died: ${why}. Another one starts in ${Math.round(pauseMs)} ms`,
    );
    this.#cancelRestart = clock.after(pauseMs, () => {
      try {
        this.#run(this.#startThread());
      } catch (error) {
        this.#deaths += 1;
        this.#restart(messageOf(error));
      }
    });
  }

  #receive(message: FromRenewalThread): void {
    if (message.type === 'ready') return;
    if (message.type === 'measured') return reportRenewal(this.#options.metrics ?? NO_METRICS, message.renewal);
    for (const id of message.ids) {
      const lease = this.#byId.get(id)?.lease;
      if (message.type === 'changed') lease?.changed();
      else lease?.failed(message.message);
    }
  }

  #postTerm({ id, lease, shared, heard }: HeldTerm): void {
    const { name, holder, term, batched } = lease;
    const renewed = shared.renewed();
    if (renewed === 'superseded') return;
    const { validSince } = renewed ?? term;
    this.#post({
      type: 'hold',
      name,
      holder,
      token: term.token,
      term: { id, validSince, lastRenewal: shared.lastSent, batched },
      memory: shared.memory,
    });
    if (heard !== undefined) this.#post(heard);
  }

  #post(message: ToRenewalThread): void {
    this.#thread?.postMessage(message, []);
  }
}

function keyOf(name: string, token: bigint): string {
  return `${token} ${name}`;
}

function startRenewalThread(data: RenewalThreadData): Worker {
  // Without the flags of this process: the thread must not use its loader or inspector port.
  return new Worker(new URL('./renewal-thread.main.js', import.meta.url), {
    name: 'hedge-renewal',
    workerData: data,
    execArgv: [],
  });
}
