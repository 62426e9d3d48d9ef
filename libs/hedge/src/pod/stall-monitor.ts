import type { Clock, Instant } from '../common/clock.js';
import type { Logger } from '../common/line-logger.js';
import { type Metrics, NO_METRICS } from '../telemetry/metrics.js';

/** The stalls of the event loop of one process, for metrics. A stall is a quarter of a lease or longer. */
export interface StallFigures {
  readonly count: number;
  /** Milliseconds. */
  readonly longestMs: number;
  /** The sum of all stalls in milliseconds. */
  readonly totalMs: number;
  /** The leadership, locks, permits and runs of jobs that they cost. */
  readonly lost: number;
}

export interface StallMonitorOptions {
  readonly clock: Clock;
  readonly leaseMs: number;
  /** With `renewal: 'worker'`. */
  readonly maxStallMs: number | undefined;
  readonly logger: Pick<Logger, 'warn'>;
  /** Called in each turn of the timer with the monotonic time. */
  readonly onTurn: (monoMs: number) => void;
  readonly metrics?: Metrics | undefined;
  /** CPU time of this process in milliseconds. Replaced in tests. */
  readonly cpuMs?: () => number;
}

/** Turns of the timer per lease. */
const TURNS_PER_LEASE = 16;
/** A stall is this share of a lease. */
const STALL_SHARE = 1 / 4;

/**
 * Notices stalls of the event loop: synchronous work, or a process that was paused. Each is logged once, with its length,
 * its cost and the fix.
 */
export class StallMonitor {
  readonly #options: StallMonitorOptions;
  readonly #turnMs: number;
  #dueAt = 0;
  #cpuMs = 0;
  #cancel: () => void = () => undefined;
  /** What was lost since the last turn but one: a loss can show before the turn after a stall, and soon after it. */
  #lost: string[] = [];
  /** The stall whose losses are collected until the next turn. */
  #stall: { readonly ms: number; readonly cpuMs: number } | undefined;
  #delayMs = 0;
  #figures: StallFigures = { count: 0, longestMs: 0, totalMs: 0, lost: 0 };

  constructor(options: StallMonitorOptions) {
    this.#options = options;
    this.#turnMs = options.leaseMs / TURNS_PER_LEASE;
  }

  /** By how much the last turn of the timer was late, in milliseconds. */
  get delayMs(): number {
    return this.#delayMs;
  }

  get figures(): StallFigures {
    return this.#figures;
  }

  start(): void {
    this.#cancel();
    this.#schedule(this.#options.clock.now());
  }

  /** A lease or a permit has expired, or a run of a job was cut short. @param what for the log: `lock "a"`. */
  lost(what: string): void {
    this.#lost.push(what);
  }

  close(): void {
    this.#cancel();
    if (this.#stall !== undefined) this.#report();
  }

  #schedule(now: Instant): void {
    const { clock, onTurn, cpuMs = ownCpuMs } = this.#options;
    onTurn(now.mono);
    this.#cpuMs = cpuMs();
    this.#dueAt = now.mono + this.#turnMs;
    this.#cancel = clock.after(this.#turnMs, () => this.#turn());
  }

  #turn(): void {
    const { clock, leaseMs, cpuMs = ownCpuMs, metrics = NO_METRICS } = this.#options;
    if (this.#stall !== undefined) this.#report();
    const now = clock.now();
    const ms = Math.round(now.mono - this.#dueAt);
    metrics.record('hedge.event_loop.delay', Math.max(0, now.mono - this.#dueAt) / 1_000);
    this.#delayMs = Math.max(0, ms);
    if (ms >= leaseMs * STALL_SHARE) this.#stall = { ms, cpuMs: Math.round(cpuMs() - this.#cpuMs) };
    else this.#lost = [];
    this.#schedule(now);
  }

  #report(): void {
    const { ms, cpuMs } = this.#stall!;
    this.#stall = undefined;
    const { count, longestMs, totalMs, lost } = this.#figures;
    this.#figures = {
      count: count + 1,
      longestMs: Math.max(longestMs, ms),
      totalMs: totalMs + ms,
      lost: lost + this.#lost.length,
    };
    this.#options.metrics?.add('hedge.event_loop.stalls');
    this.#options.logger.warn(this.#describe(ms, cpuMs), {
      event: 'event_loop.stalled',
      durationMs: ms,
      cpuMs,
      lost: this.#lost.length,
    });
    this.#lost = [];
  }

  #describe(ms: number, cpuMs: number): string {
    const { maxStallMs } = this.#options;
    const cause =
      cpuMs >= ms / 2
        ? `This process used ${cpuMs} ms of CPU time meanwhile, so synchronous work blocked it`
        : `This process used only ${cpuMs} ms of CPU time meanwhile, so it was paused, had no processor, or waited synchronously`;
    const cost = this.#lost.length === 0 ? 'No lease was lost' : `This cost the pod ${listed(this.#lost)}`;
    const fix =
      maxStallMs === undefined
        ? "raise timing.leaseMs, or set renewal: 'worker'"
        : `raise maxStallMs (${maxStallMs}) if leases were lost`;
    return `The event loop stalled for ${ms} ms. ${cause}. ${cost}. Move synchronous work to a worker thread; ${fix}`;
  }
}

/** The first few, and the number of the others. */
function listed(lost: readonly string[]): string {
  const shown = lost.slice(0, 5).join(', ');
  return lost.length > 5 ? `${shown} and ${lost.length - 5} more` : shown;
}

function ownCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
