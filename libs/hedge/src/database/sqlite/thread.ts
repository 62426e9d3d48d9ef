import { Worker } from 'node:worker_threads';
import { HedgeError } from '../../common/errors.js';
import { toHedgeError } from './failures.js';
import type {
  End,
  Failure,
  FileReplaced,
  OperationName,
  Operations,
  Reply,
  Request,
  WorkerConfig,
} from './protocol.js';

/** The maximum of posted requests without an answer. More mean that the thread hangs while callers time out. */
const MOST_UNANSWERED = 20_000;

/** The worker stops waiting for a lock at this share of the deadline, to report in time that nothing was written. */
const WORKER_SHARE = 0.8;

const END: End = 'end';

interface PendingCall {
  readonly operation: OperationName;
  readonly giveUpAt: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: HedgeError) => void;
}

/**
 * The main thread's side of a worker. The worker starts on the first call, and again on the next call after it died. If
 * it dies or hangs, calls fail at their deadline.
 *
 * Calls of one event-loop turn are posted as one message, because posting costs more than a read. The worker keeps the
 * process alive only while a call is pending.
 */
export class SqliteThread {
  #worker: Worker | undefined;
  /** In the order of `giveUpAt`, because all calls have the same timeout. */
  readonly #calls = new Map<number, PendingCall>();
  #outbox: Request[] = [];
  #lastId = 0;
  #unanswered = 0;
  #closed = false;
  /** While set, calls wait for another worker. */
  #restart: Promise<void> | undefined;
  #watch: NodeJS.Timeout | undefined;

  /**
   * @param startWorker replaced in tests of a worker that dies or hangs.
   * @param replaced called when the worker detected that the file was replaced after it was opened.
   */
  constructor(
    private readonly config: WorkerConfig,
    private readonly timeoutMs: number,
    private readonly startWorker: (config: WorkerConfig) => Worker = startSqliteWorker,
    private readonly replaced: (failure: Failure) => void = () => undefined,
  ) {}

  /** @throws HedgeError of `toHedgeError`, within `timeoutMs`. */
  call<K extends OperationName>(operation: K, ...args: Parameters<Operations[K]>): Promise<ReturnType<Operations[K]>> {
    return new Promise((resolve, reject) => {
      this.#assertOpen();
      const now = monotonicMs();
      const id = ++this.#lastId;
      const giveUpAt = now + this.timeoutMs;
      this.#calls.set(id, { operation, giveUpAt, resolve: resolve as (value: unknown) => void, reject });
      if (this.#outbox.length === 0) setImmediate(() => this.#post());
      this.#outbox.push({ id, operation, args, giveUpAt: now + this.timeoutMs * WORKER_SHARE });
      if (this.#calls.size === 1) this.#worker?.ref();
      this.#watch ??= this.#watchAfter(this.timeoutMs);
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const worker = this.#worker;
    this.#lose('it was closed');
    if (worker !== undefined) await endOf(worker, this.timeoutMs);
  }

  /**
   * Ends the worker after it has answered all requests, and with it all its open file handles. From now on calls wait for
   * another worker, until `resume`.
   */
  pause(): Promise<void> {
    const worker = this.#worker;
    this.#restart ??= worker === undefined ? Promise.resolve() : endOf(worker, this.timeoutMs);
    return this.#restart;
  }

  resume(): void {
    this.#restart = undefined;
    this.#post();
  }

  #assertOpen(): void {
    if (this.#closed) {
      throw new HedgeError('BACKEND_UNAVAILABLE', `sqlite ${this.config.file} is closed.`, { retryable: false });
    }
    if (this.#unanswered < MOST_UNANSWERED) return;
    throw new HedgeError(
      'OVERLOADED',
      `sqlite ${this.config.file} has ${this.#unanswered} unanswered requests, so no more are accepted. Check its disk, and try again when it answers.`,
    );
  }

  #post(): void {
    if (this.#outbox.length === 0 || this.#restart !== undefined) return;
    const worker = (this.#worker ??= this.#start());
    if (worker === undefined) return;
    this.#unanswered += this.#outbox.length;
    worker.postMessage(this.#outbox, []);
    this.#outbox = [];
  }

  /** @returns undefined when Node cannot start a thread; then all calls have failed. */
  #start(): Worker | undefined {
    let worker: Worker;
    try {
      worker = this.startWorker(this.config);
    } catch (error) {
      this.#outbox = [];
      this.#lose(`its thread cannot start: ${errorText(error)}`, startFailure(error));
      return undefined;
    }
    const lose = (why: string, code?: string) => {
      if (this.#worker === worker) this.#lose(why, code);
    };
    worker.on('message', (message: Reply[] | FileReplaced) => {
      if (this.#worker !== worker) return;
      if ('replaced' in message) this.replaced(message.replaced);
      else this.#settle(message);
    });
    worker.on('messageerror', (error) => lose(`its thread sent an unreadable message: ${error.message}`));
    worker.on('error', (error) => lose(`its thread died: ${errorText(error)}`, deathFailure(error)));
    worker.on('exit', (code) => lose(`its thread ended with code ${code}`));
    return worker;
  }

  #settle(replies: readonly Reply[]): void {
    this.#unanswered -= replies.length;
    for (const reply of replies) {
      const call = this.#calls.get(reply.id);
      if (call === undefined) continue;
      if (reply.failure !== undefined) {
        this.#fail(reply.id, call, reply.failure);
        continue;
      }
      this.#calls.delete(reply.id);
      call.resolve(reply.value);
    }
    this.#restWhenIdle();
  }

  /** Drops the worker, and fails all posted calls: their outcome is unknown. */
  #lose(why: string, code = 'WORKER_LOST'): void {
    this.#worker = undefined;
    this.#unanswered = 0;
    const unposted = new Set(this.#closed ? [] : this.#outbox.map(({ id }) => id));
    for (const [id, call] of this.#calls) {
      if (unposted.has(id)) continue;
      this.#fail(id, call, { code, message: why, withoutEffect: false });
    }
    if (this.#closed) this.#outbox = [];
    this.#restWhenIdle();
  }

  #fail(id: number, call: PendingCall, failure: Failure): void {
    this.#calls.delete(id);
    if (failure.code === 'FILE_REPLACED' || failure.code === 'WAL_REPLACED') this.replaced(failure);
    call.reject(toHedgeError(this.config, call.operation, failure));
  }

  #watchAfter(ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      const now = monotonicMs();
      for (const [id, call] of this.#calls) {
        if (call.giveUpAt > now) {
          this.#watch = this.#watchAfter(call.giveUpAt - now);
          return;
        }
        const message = `no answer within ${this.timeoutMs} ms`;
        this.#fail(id, call, { code: 'NO_ANSWER', message, withoutEffect: false });
      }
      this.#restWhenIdle();
    }, ms).unref();
  }

  #restWhenIdle(): void {
    if (this.#calls.size > 0) return;
    this.#worker?.unref();
    clearTimeout(this.#watch);
    this.#watch = undefined;
  }
}

/**
 * Asks a worker to end after its running call, and terminates it only if it does not end: libsql aborts the whole process
 * when its thread is terminated during a call.
 */
function endOf(worker: Worker, limitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const limit = setTimeout(() => void worker.terminate(), limitMs);
    worker.once('exit', () => {
      clearTimeout(limit);
      resolve();
    });
    // While it runs, the process must not end, because that would terminate it.
    worker.ref();
    worker.postMessage(END, []);
  });
}

function startSqliteWorker(config: WorkerConfig): Worker {
  // Without the flags of this process: the thread must not use its loader or inspector port.
  return new Worker(new URL('./worker/worker.js', import.meta.url), {
    name: config.readsOnly === true ? 'hedge-sqlite-reads' : 'hedge-sqlite',
    workerData: config,
    execArgv: [],
  });
}

/** The code of a failure to create the thread. */
function startFailure(error: unknown): string {
  switch ((error as { code?: unknown }).code) {
    case 'ERR_ACCESS_DENIED': // Node's permission model
      return 'WORKER_FORBIDDEN';
    case 'ERR_INVALID_URL': // a bundle of CommonJS, where import.meta.url is undefined
      return 'WORKER_MISSING';
    default:
      return 'WORKER_LOST';
  }
}

/** The code of a failure of a running thread: Node reports a missing file only then. */
function deathFailure(error: unknown): string {
  const code = String((error as { code?: unknown }).code);
  return code.endsWith('MODULE_NOT_FOUND') ? 'WORKER_MISSING' : 'WORKER_LOST';
}

/** The message of an error of another thread or realm, which is not `instanceof Error`. */
function errorText(error: unknown): string {
  return String((error as { message?: unknown }).message ?? error);
}

/** The same clock for all threads of a process; `performance.now()` differs between threads. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
