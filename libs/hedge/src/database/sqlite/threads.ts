import type { Worker } from 'node:worker_threads';
import type { Failure, OperationName, Operations, WorkerConfig } from './protocol.js';
import { SqliteThread } from './thread.js';

/** What may be long or many. A lease is read where leases are written: nothing of the user's is before it there. */
const READS: ReadonlySet<OperationName> = new Set(['latest', 'history', 'keys']);

/** Of `KnownFile`: device, inode, id and clock. */
const KNOWN_FILE_BYTES = 32;

/** Makes calls to the file. */
export interface SqliteCalls {
  /** @throws HedgeError of `toHedgeError`, within the time allowed. */
  call<K extends OperationName>(operation: K, ...args: Parameters<Operations[K]>): Promise<ReturnType<Operations[K]>>;
}

/** Called once each time that the file turns out not to be the one that was opened. */
export type ReplacedListener = (failure: Failure) => void;

/**
 * Two threads on one file: one for leases and writes, one for reads, so that no read, however long, is before a
 * renewal.
 *
 * When one of them finds that the file was replaced under it, both end before either opens the file again: SQLite
 * shares its index of the write-ahead log among all connections of a process.
 */
export class SqliteThreads implements SqliteCalls {
  readonly #writes: SqliteThread;
  readonly #reads: SqliteThread;
  readonly #listeners: ReplacedListener[] = [];
  readonly #knownFile = new SharedArrayBuffer(KNOWN_FILE_BYTES);
  #restarting = false;

  /** @param startWorker a seam for tests of workers that die. */
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
