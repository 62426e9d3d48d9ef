import { Worker } from 'node:worker_threads';
import type { WorkerBackend } from '../../database/backend.js';
import { backoffMs } from '../../common/backoff.js';
import type { Clock } from '../../common/clock.js';
import { HedgeError, messageOf } from '../../common/errors.js';
import type { Timing } from '../../common/timing.js';
import type { FromRenewalThread, RenewalThreadData, ToRenewalThread } from './renewal.messages.js';
import { type Metrics, NO_METRICS } from '../../telemetry/metrics.js';
import { reportRenewal } from './report-renewal.js';
import type { SharedLife } from './shared-life.js';
import { SharedTerm } from './shared-term.js';
import type { RenewedLease, TermRenewer } from './term-renewer.js';

export interface RenewalWorkerOptions {
  readonly backend: WorkerBackend;
  readonly timing: Timing;
  readonly maxStallMs: number;
  readonly life: SharedLife;
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
}

/**
 * The main thread's side of the renewal thread, which renews the terms of this process over connections of its own. If the
 * thread dies, another one continues with higher numbers.
 *
 * @example
 * const renewer = new RenewalWorker({ backend, timing, maxStallMs: 16_000, life, clock, logger });
 * await renewer.start();
 */
export class RenewalWorker implements TermRenewer {
  readonly #options: RenewalWorkerOptions;
  /** By name and token of the lease. */
  readonly #terms = new Map<string, HeldTerm>();
  readonly #byId = new Map<number, HeldTerm>();
  #lastId = 0;
  #thread: Worker | undefined;
  #deaths = 0;
  #cancelRestart: () => void = () => undefined;
  #closed = false;

  constructor(options: RenewalWorkerOptions) {
    this.#options = options;
  }

  /**
   * Resolves when the thread has loaded the driver.
   * @throws HedgeError INVALID_OPTIONS when it cannot
   */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      const refuse = (why: string): void => {
        this.#closed = true;
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
    const held: HeldTerm = { id: this.#lastId, lease, shared: new SharedTerm() };
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
    this.#post({ type: 'heard', name, token, leaseMs });
  }

  /** Ends the thread: no term is renewed from now on. Resolves within twice `backendTimeoutMs`. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelRestart();
    for (const { lease } of this.#byId.values()) this.drop(lease.name, lease.term.token);
    const thread = this.#thread;
    this.#thread = undefined;
    if (thread === undefined) return;
    await new Promise<void>((resolve) => {
      const { clock, timing } = this.#options;
      const cancel = clock.after(2 * timing.backendTimeoutMs, () => void thread.terminate(), true);
      thread.once('exit', () => (cancel(), resolve()));
      // The process must not end in the middle of a call of libsql.
      thread.ref();
      thread.postMessage({ type: 'end' } satisfies ToRenewalThread, []);
    });
  }

  #startThread(): Worker {
    const { backend, timing, maxStallMs, life, startThread = startRenewalThread } = this.#options;
    return startThread({ backend, timing, maxStallMs, life: life.memory });
  }

  /** The thread has loaded the driver. */
  #run(thread: Worker): void {
    if (this.#closed) return void thread.terminate();
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

  #postTerm({ id, lease, shared }: HeldTerm): void {
    const { name, holder, term, onBeat } = lease;
    const renewed = shared.renewed();
    if (renewed === 'superseded') return;
    const { validSince } = renewed ?? term;
    this.#post({
      type: 'hold',
      name,
      holder,
      token: term.token,
      term: { id, validSince, lastRenewal: shared.lastSent, onBeat },
      memory: shared.memory,
    });
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
