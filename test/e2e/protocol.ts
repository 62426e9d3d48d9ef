import type { KvRetention, KvVersion } from 'nestjs-hedge';

/** The settings that a test passes to a pod. */
export interface PodSettings {
  readonly group: string;
  readonly address: string;
  readonly file: string;
  /** Instead of the file. */
  readonly spanner?: { readonly database: string; readonly emulator: string };
  /** Instead of the file. With the size of a pool that the application lends. */
  readonly postgres?: { readonly url: string; readonly pool?: number };
  readonly secret?: string;
  readonly renewal?: 'main' | 'worker';
  readonly maxStallMs?: number;
  /** `kv.retention`, with shorter times than those of ten minutes, and a Prometheus registry. */
  readonly retention?: { readonly rules: readonly KvRetention[]; readonly limits: object };
}

/** What synchronous work saw while it blocked the event loop: the sequence of different values. */
export interface SeenWhileBlocked {
  readonly led: readonly boolean[];
  readonly locked: readonly boolean[];
}

export interface PodState {
  /** The number of its running handlers. */
  readonly working: number;
  readonly isLeader: boolean;
  readonly token: bigint | undefined;
  readonly leader: string | undefined;
  readonly settled: boolean;
  readonly members: readonly string[];
}

export interface Sends {
  done: number;
  failed: string[];
  slowestMs: number;
}

/** A time in which a pod led, as it found at the beginning, at the end, and in between. */
export interface Leadership {
  readonly token: bigint;
  /** Milliseconds of the machine's monotonic clock. */
  readonly from: number;
  readonly until: number;
}

/** The present state of a lock or a permit that a pod has acquired. */
export interface HeldState {
  readonly token: bigint;
  readonly valid: boolean;
  /** The code with which its signal aborted. */
  readonly lost: string | undefined;
}

/** A put on the condition that the key still has the `expected` value. */
export type ConditionalPut =
  | { readonly expected: string | undefined; readonly outcome: 'written' | 'unknown' }
  | { readonly expected: string | undefined; readonly outcome: 'conflict'; readonly found: string | undefined };

/** A transaction on the condition that the keys still have the `expected` values. */
export type ConditionalTransaction = { readonly expected: Readonly<Record<string, string | undefined>> } & (
  | { readonly outcome: 'written' | 'unknown' }
  | {
      readonly outcome: 'conflict';
      /** Those that had changed. */
      readonly keys: readonly string[];
      readonly found: Readonly<Record<string, string | undefined>>;
    }
);

export interface WatchedFrom {
  readonly seen: readonly string[];
  readonly error?: { readonly code: string; readonly from?: { key: string; version: string; id: string } };
}

/** The calls that a test can make to a pod. */
export interface PodCalls {
  state(): Promise<PodState>;
  put(
    key: string,
    value: string,
    options?: { append?: boolean; fenced?: bigint; timeoutMs?: number },
  ): Promise<unknown>;
  get(key: string): Promise<string | undefined>;
  /** Reads the key, then puts on the condition that it has not changed. */
  putIfUnchanged(key: string, value: string, timeoutMs: number): Promise<ConditionalPut>;
  /** Reads the keys, then deletes the last one and puts the others, on the condition that none has changed. */
  transactIfUnchanged(keys: readonly string[], value: string, timeoutMs: number): Promise<ConditionalTransaction>;
  delete(key: string, timeoutMs: number): Promise<unknown>;
  /** Watches a prefix from now on. */
  watch(prefix: string): Promise<void>;
  /** The versions that the watch has yielded: key, version and id of each. */
  watched(): Promise<readonly string[]>;
  /** Watches a prefix from a place. Resolves with what it has yielded after so many versions, or when it has failed. */
  watchFrom(prefix: string, from: KvVersion & { readonly key: string }, count: number): Promise<WatchedFrom>;
  /** All versions of these keys in the order of commits, as `watched`. */
  stored(keys: readonly string[]): Promise<readonly string[]>;
  /** The values of the versions of a key, the oldest first; an empty one for a deletion. */
  history(key: string): Promise<readonly string[]>;
  compact(timeoutMs: number): Promise<number>;
  /** The samples of a scrape, without those of buckets: `name{labels}` and the value. */
  metrics(): Promise<Readonly<Record<string, number>>>;
  /** Sends work of this duration to the leader; resolves with the pid of the leader. */
  send(ms: number, timeoutMs: number): Promise<number>;
  /** Broadcasts; resolves with the pids that answered. */
  who(): Promise<(number | undefined)[]>;
  /** Acquires a lock and keeps it; resolves with its token. */
  lock(name: string, timeoutMs: number): Promise<bigint>;
  held(name: string): Promise<HeldState>;
  /** Acquires the one permit of a semaphore and keeps it; resolves with its token. */
  acquire(name: string, timeoutMs: number): Promise<bigint>;
  permit(name: string): Promise<HeldState>;
  releasePermit(name: string): Promise<void>;
  startSending(concurrency: number): Promise<void>;
  sendsSoFar(): Promise<Sends>;
  stopSending(): Promise<Sends>;
  /** In order. */
  terms(): Promise<readonly Leadership[]>;
  /** Blocks the event loop for so long, and looks at the leadership and at that lock all the time. */
  block(ms: number, lock: string): Promise<SeenWhileBlocked>;
  /** As `block`, in the next run of a job. Resolves with the last outcome of the job after the run. */
  blockInJob(ms: number, lock: string): Promise<SeenWhileBlocked & { readonly outcome: string }>;
  /** Acquires all connections of the pool that the pod shares with Hedge, or releases them. */
  occupyPool(occupied: boolean): Promise<void>;
}

export interface Call {
  readonly id: number;
  readonly method: keyof PodCalls;
  readonly args: readonly unknown[];
}

export interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly code: string; readonly message: string };
}
