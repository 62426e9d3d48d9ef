import { Code, SpannerError, type CodeName } from './common/status.js';

/** Makes calls fail. Methods have the names of the API: `Commit`, `ExecuteStreamingSql`, `BeginTransaction` … */
export interface FaultRule {
  /** The method, or `*` for all methods of google.spanner.v1.Spanner. */
  readonly method: string;
  readonly code: CodeName;
  /**
   * `before`: the call fails without effect. `after`: the call fails after its effect; for a Commit, the outcome is
   * unknown. `during`: a stream breaks after its first message, and can be resumed.
   */
  readonly when: 'before' | 'after' | 'during';
  /** The share of matching calls to which the rule applies, 0 to 1. Default 1. */
  readonly rate?: number;
  /** How many times the rule applies in total. Default: no limit. */
  readonly times?: number;
  readonly message?: string;
}

/** Everything is off by default. */
export interface FaultOptions {
  /** The share of statements, reads and commits in read-write transactions that fail with ABORTED, 0 to 1. */
  readonly abortRate?: number;
  /** The RetryInfo of these errors in milliseconds; null sends none. Default 2. */
  readonly abortRetryDelayMs?: number | null;
  /** Additional latency of every call in milliseconds, or a range of random values. */
  readonly latencyMs?: number | readonly [number, number];
  readonly rules?: readonly FaultRule[];
  /** Assigns the same commit timestamp to concurrent transactions on different rows, where Spanner could do so. */
  readonly equalCommitTimestamps?: boolean;
  /** The share of calls whose session is lost, 0 to 1. */
  readonly sessionLossRate?: number;
  /** Seed of the random numbers, for repeatable runs. Default 1. */
  readonly seed?: number;
}

interface ActiveRule extends FaultRule {
  left: number;
}

/** A small generator with a full period of 2^32 (a Weyl sequence through a multiplicative hash). */
const generator = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
};

const deferred = (): { readonly promise: Promise<void>; readonly resolve: () => void } => {
  const resolvers: (() => void)[] = [];
  const promise = new Promise<void>((resolve) => resolvers.push(resolve));
  return { promise, resolve: () => resolvers[0]!() };
};

/**
 * The faults of a running emulator. They may be changed at any time.
 *
 * @example
 * emulator.faults.fail({ method: 'Commit', code: 'UNAVAILABLE', when: 'after', times: 1 });
 */
export class Faults {
  private options: FaultOptions = {};
  private rules: ActiveRule[] = [];
  private random = generator(1);
  private gate: { readonly opened: Promise<void>; readonly open: () => void } | undefined;
  private sessionLosses = 0;

  constructor(options: FaultOptions = {}) {
    this.set(options);
  }

  /** Replaces all faults. */
  set(options: FaultOptions): void {
    this.options = options;
    this.rules = [];
    this.random = generator(options.seed ?? 1);
    for (const rule of options.rules ?? []) this.fail(rule);
  }

  /** Ends all faults, including a pause. */
  clear(): void {
    this.set({});
    this.resume();
  }

  /** Adds one rule. */
  fail(rule: FaultRule): void {
    this.rules.push({ ...rule, left: rule.times ?? Infinity });
  }

  /** Makes every call wait until `resume`, as if the server did not answer. */
  pause(): void {
    if (this.gate) return;
    const { promise, resolve } = deferred();
    this.gate = { opened: promise, open: resolve };
  }

  resume(): void {
    this.gate?.open();
    this.gate = undefined;
  }

  /** Loses all sessions at once, with their transactions. */
  loseSessions(): void {
    this.sessionLosses++;
  }

  /** @internal Counts the calls of loseSessions, so that the server notices them. */
  get sessionGeneration(): number {
    return this.sessionLosses;
  }

  /** @internal */
  get equalCommitTimestamps(): boolean {
    return this.options.equalCommitTimestamps ?? false;
  }

  /** @internal The retry delay of an ABORTED to inject, or undefined for none. */
  drawAbort(): { readonly retryDelayMs: number | null } | undefined {
    if (!this.draw(this.options.abortRate)) return undefined;
    const { abortRetryDelayMs = 2 } = this.options;
    return { retryDelayMs: abortRetryDelayMs };
  }

  /** @internal */
  drawSessionLoss(): boolean {
    return this.draw(this.options.sessionLossRate);
  }

  /** @internal The delay before a call; undefined without a delay. */
  delay(): Promise<void> | undefined {
    const { latencyMs } = this.options;
    if (latencyMs === undefined) return this.gate?.opened;
    const [low, high] = typeof latencyMs === 'number' ? [latencyMs, latencyMs] : latencyMs;
    const ms = low + this.random() * (high - low);
    return new Promise<void>((resolve) => setTimeout(resolve, ms)).then(() => this.gate?.opened);
  }

  /** @internal The error of a rule for this call at this point. */
  drawError(method: string, when: FaultRule['when']): SpannerError | undefined {
    if (this.rules.length === 0) return undefined;
    const rule = this.rules.find(
      (candidate) =>
        candidate.when === when &&
        candidate.left > 0 &&
        (candidate.method === '*' || candidate.method === method) &&
        this.draw(candidate.rate ?? 1),
    );
    if (!rule) return undefined;
    rule.left--;
    return new SpannerError(Code[rule.code], rule.message ?? `Injected fault: ${rule.code} ${when} ${method}`);
  }

  /** @internal Whether a stream of this method may break, so that it must consist of several messages. */
  mayBreak(method: string): boolean {
    return this.rules.some((rule) => rule.when === 'during' && (rule.method === '*' || rule.method === method));
  }

  private draw(rate: number | undefined): boolean {
    return rate !== undefined && rate > 0 && this.random() < rate;
  }
}
