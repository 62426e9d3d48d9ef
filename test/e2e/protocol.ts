/** What a test tells a pod to be. */
export interface PodSettings {
  readonly group: string;
  readonly address: string;
  readonly file: string;
  /** Instead of the file. */
  readonly spanner?: { readonly database: string; readonly emulator: string };
  readonly secret?: string;
}

export interface PodState {
  /** How many of its handlers run. */
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

/** A lock or a permit that a pod has taken, as it sees it now. */
export interface HeldState {
  readonly token: bigint;
  readonly valid: boolean;
  /** The code with which its signal aborted. */
  readonly lost: string | undefined;
}

/** What a test can ask of a pod. */
export interface PodCalls {
  state(): Promise<PodState>;
  put(
    key: string,
    value: string,
    options?: { append?: boolean; fenced?: bigint; timeoutMs?: number },
  ): Promise<unknown>;
  get(key: string): Promise<string | undefined>;
  /** Has the leader work that long; resolves with the leader's pid. */
  send(ms: number, timeoutMs: number): Promise<number>;
  /** Broadcasts; resolves with the pids that answered. */
  who(): Promise<(number | undefined)[]>;
  /** Takes a lock and keeps it; resolves with its token. */
  lock(name: string, timeoutMs: number): Promise<bigint>;
  held(name: string): Promise<HeldState>;
  /** Acquires the one permit of a semaphore and keeps it; resolves with its token. */
  acquire(name: string, timeoutMs: number): Promise<bigint>;
  permit(name: string): Promise<HeldState>;
  releasePermit(name: string): Promise<void>;
  startSending(concurrency: number): Promise<void>;
  sendsSoFar(): Promise<Sends>;
  stopSending(): Promise<Sends>;
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
