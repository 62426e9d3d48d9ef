/**
 * All durations of a group, in milliseconds. Every pod of a group should have the same; a lease is judged by
 * its holder's `leaseMs`, which the row carries.
 *
 * Must hold (checked at start): `backendTimeoutMs` < `renewDeadlineMs` < `leaseMs` − `marginMs`,
 * `retryMs` < `renewDeadlineMs`, and `heartbeatMs` × 2 ≤ `heartbeatTimeoutMs`.
 */
export interface Timing {
  /** How long a lease lasts without renewal. Longer: fewer false take-overs; shorter: faster fail-over after a crash. */
  readonly leaseMs: number;
  /** The holder stops believing this long before the lease ends, for clocks that run at different rates. */
  readonly marginMs: number;
  /**
   * A holder steps down when its last successful renewal began this long ago, retries included; it renews
   * every `leaseMs` / 3. What remains of the lease is the time leader work has to notice its aborted signal.
   */
  readonly renewDeadlineMs: number;
  /** Pause between tries to reach a failing database; grows with jitter up to four times this. */
  readonly retryMs: number;
  /** One call to the database ends within this. Over a network, leave time for a second try of a renewal. */
  readonly backendTimeoutMs: number;
  /** A member tells the leader that it lives this often. */
  readonly heartbeatMs: number;
  /** A member not heard for this long leaves the view. A new leader's view is settled after this at the latest. */
  readonly heartbeatTimeoutMs: number;
}

export type TimingPreset = 'local' | 'lan' | 'wan';

/** Ready-made sets: one machine, one region (the default), several regions. */
export const TIMING_PRESETS: Readonly<Record<TimingPreset, Timing>> = {
  local: {
    leaseMs: 3_000,
    marginMs: 300,
    renewDeadlineMs: 2_000,
    retryMs: 100,
    backendTimeoutMs: 1_000,
    heartbeatMs: 500,
    heartbeatTimeoutMs: 2_000,
  },
  lan: {
    leaseMs: 8_000,
    marginMs: 1_000,
    renewDeadlineMs: 5_000,
    retryMs: 250,
    backendTimeoutMs: 1_500,
    heartbeatMs: 1_000,
    heartbeatTimeoutMs: 5_000,
  },
  wan: {
    leaseMs: 20_000,
    marginMs: 2_000,
    renewDeadlineMs: 14_000,
    retryMs: 500,
    backendTimeoutMs: 3_000,
    heartbeatMs: 3_000,
    heartbeatTimeoutMs: 12_000,
  },
};
