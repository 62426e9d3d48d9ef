import type { Worker } from 'node:worker_threads';
import type { Failure, OperationName, Operations, WorkerConfig } from './protocol.js';
import { SqliteThread } from './thread.js';

/** Reads that may be long or many. Leases are read by the write thread, where no read of the user can delay them. */
const READS: ReadonlySet<OperationName> = new Set([
  'latest',
  'history',
  'keys',
  'listLeases',
  'changes',
  'trimmable',
  'lastTimestamp',
]);

/** The size of `KnownFile`: device, inode, id and clock. */
const KNOWN_FILE_BYTES = 32;

/** Calls to the database file. */
export interface SqliteCalls {
  /** @throws HedgeError of `toHedgeError`, within the timeout. */
  call<K extends OperationName>(operation: K, ...args: Parameters<Operations[K]>): Promise<ReturnType<Operations[K]>>;
}

/** Called once for each detected replacement of the file. */
export type ReplacedListener = (failure: Failure) => void;

/**
 * Two threads on one file: one for leases and writes, one for reads, so that a long read cannot delay a renewal.
 *
 * When one thread detects that the file was replaced, both end before either opens the file again: SQLite shares its
 * index of the write-ahead log among all connections of a process.
 */
export class SqliteThreads implements SqliteCalls {
  readonly #writes: SqliteThread;
  readonly #reads: SqliteThread;
  readonly #listeners: ReplacedListener[] = [];
  readonly #knownFile = new SharedArrayBuffer(KNOWN_FILE_BYTES);
  #restarting = false;

  /** @param startWorker replaced in tests of workers that die. */
  constructor(config: WorkerConfig, timeoutMs: number, startWorker?: (config: WorkerConfig) => Worker) {
    const replaced = (failure: Failure): void => this.#replaced(failure);
    const shared = { ...config, knownFile: this.#knownFile };
    this.#writes = new SqliteThread(shared, timeoutMs, startWorker, replaced);
    this.#reads = new SqliteThread({ ...shared, readsOnly: true }, timeoutMs, startWorker, replaced);
  }

  call<K extends OperationName>(operation: K, ...args: Parameters<Operations[K]>): Promise<ReturnType<Operations[K]>> {
    return (READS.has(operation) ? this.#reads : this.#writes).call(operation, ...args);
  }

  onReplaced(listener: ReplacedListener): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    await Promise.all([this.#writes.close(), this.#reads.close()]);
  }

  #replaced(failure: Failure): void {
    if (this.#restarting) return;
    this.#restarting = true;
    for (const listener of this.#listeners) listener(failure);
    const threads = [this.#writes, this.#reads];
    void Promise.all(threads.map((thread) => thread.pause())).then(() => {
      this.#restarting = false;
      new Uint8Array(this.#knownFile).fill(0);
      for (const thread of threads) thread.resume();
    });
  }
}
