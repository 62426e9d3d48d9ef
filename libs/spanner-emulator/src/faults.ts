import { Code, SpannerError, type CodeName } from './common/status.js';

/** A call that shall fail. Methods are named as in the API: `Commit`, `ExecuteStreamingSql`, `BeginTransaction` … */
export interface FaultRule {
  /** The method, or `*` for all of google.spanner.v1.Spanner's. */
  readonly method: string;
  readonly code: CodeName;
  /**
   * `before`: nothing happens, the call fails. `after`: the call takes effect, and fails: for a Commit, an unknown
   * outcome. `during`: a stream breaks after its first message, and can be resumed.
   */
  readonly when: 'before' | 'after' | 'during';
  /** How often the rule applies to a call that matches it, 0 to 1. Default 1. */
  readonly rate?: number;
  /** How many times it applies in all. Default: no end. */
  readonly times?: number;
  readonly message?: string;
}

/** Everything is off by default. */
export interface FaultOptions {
  /** How many of the statements, reads and commits in read-write transactions are answered ABORTED, 0 to 1. */
  readonly abortRate?: number;
  /** The RetryInfo of those, in milliseconds; null sends none. Default 2. */
  readonly abortRetryDelayMs?: number | null;
  /** Milliseconds that every call takes longer, or a range to draw from. */
  readonly latencyMs?: number | readonly [number, number];
  readonly rules?: readonly FaultRule[];
  /** Gives concurrent transactions that touch different rows the same commit timestamp, where Spanner could. */
  readonly equalCommitTimestamps?: boolean;
  /** How many calls find that their session is gone, 0 to 1. */
  readonly sessionLossRate?: number;
  /** Makes a run repeat its draws. Default 1. */
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
 * What goes wrong, and when. Held by a running emulator; may be changed at any time.
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

  /** Ends all faults, a pause too. */
  clear(): void {
    this.set({});
    this.resume();
  }

  /** Adds one rule to what is set. */
  fail(rule: FaultRule): void {
    this.rules.push({ ...rule, left: rule.times ?? Infinity });
  }

  /** From now on every call waits, as at a server that does not answer, until `resume`. */
  pause(): void {
    if (this.gate) return;
    const { promise, resolve } = deferred();
    this.gate = { opened: promise, open: resolve };
  }

  resume(): void {
    this.gate?.open();
    this.gate = undefined;
  }

  /** All sessions are gone at once, with what they had under way. */
  loseSessions(): void {
    this.sessionLosses++;
  }

  /** @internal Counts the calls of loseSessions, for the server to notice. */
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

  /** @internal The delay before a call; undefined when there is none, and the call need not wait. */
  delay(): Promise<void> | undefined {
    const { latencyMs } = this.options;
    if (latencyMs === undefined) return this.gate?.opened;
    const [low, high] = typeof latencyMs === 'number' ? [latencyMs, latencyMs] : latencyMs;
    const ms = low + this.random() * (high - low);
    return new Promise<void>((resolve) => setTimeout(resolve, ms)).then(() => this.gate?.opened);
  }

  /** @internal The error that a rule wants for this call at this point. */
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

  /** @internal Whether a stream of this method may be broken off, so that it has to come in several messages. */
  mayBreak(method: string): boolean {
    return this.rules.some((rule) => rule.when === 'during' && (rule.method === '*' || rule.method === method));
  }

  private draw(rate: number | undefined): boolean {
    return rate !== undefined && rate > 0 && this.random() < rate;
  }
}
