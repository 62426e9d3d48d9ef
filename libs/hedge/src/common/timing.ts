/**
 * All durations of a group, in milliseconds. All pods of a group should have the same values. Pods judge a lease by the
 * `leaseMs` of its holder, which is in the row.
 *
 * Must hold (checked at start): `backendTimeoutMs` < `renewDeadlineMs` < `leaseMs` − `marginMs`,
 * `retryMs` < `renewDeadlineMs`, and `heartbeatMs` × 2 ≤ `heartbeatTimeoutMs`.
 */
export interface Timing {
  /** How long a lease lasts without renewal. Longer: fewer false take-overs; shorter: faster fail-over after a crash. */
  readonly leaseMs: number;
  /** The holder stops trusting the lease this long before its end, because clocks run at different rates. */
  readonly marginMs: number;
  /**
   * A holder steps down when its last successful renewal began this long ago, retries included. It renews every
   * `leaseMs` / 3. Leader work has the rest of the lease to notice its aborted signal.
   */
  readonly renewDeadlineMs: number;
  /** Pause between tries to reach a failing database; grows with jitter up to four times this. */
  readonly retryMs: number;
  /** Time limit of one call to the database. Over a network, leave time for a second try of a renewal. */
  readonly backendTimeoutMs: number;
  /** The interval at which a member sends heartbeats to the leader. */
  readonly heartbeatMs: number;
  /** A member leaves the view after this time without a heartbeat. The view of a new leader is settled after this time at the latest. */
  readonly heartbeatTimeoutMs: number;
}

export type TimingPreset = 'local' | 'lan' | 'wan';

/** Sets for one machine, one region (the default), and several regions. */
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
