import type { StallFigures } from './stall-monitor.js';

/**
 * Whether this pod can serve, for a readiness probe. A probe waits for no call, and causes at most one read of the lease
 * per two leases, so any rate of probes is safe.
 */
export interface HedgeHealth {
  readonly ready: boolean;
  /** The backend has answered the last call of the election, or answered one within two leases. */
  readonly backendReachable: boolean;
  /** The view of the present leader is settled. During a change of leader the pod stays ready without a settled view. */
  readonly viewSettled: boolean;
  /** The pod has begun to stop. */
  readonly stopping: boolean;
  /** The stalls of the event loop since the start. */
  readonly stalls: StallFigures;
}

export interface ReadinessFacts {
  readonly backendReachable: boolean;
  /** 0 while the view is settled, Infinity until it is settled for the first time. */
  readonly unsettledForMs: number;
  readonly stopping: boolean;
  readonly stalls: StallFigures;
}

/** The readiness of this pod. `HedgeHealthIndicator` uses it; use it directly for checks without @nestjs/terminus. */
export class HedgeReadiness {
  /**
   * @param graceMs how long the view may be unsettled while the pod stays ready. A change of leader unsettles the view on
   *   all pods at once. The load balancer must not remove all of them while they can serve.
   */
  constructor(
    private readonly probe: () => ReadinessFacts,
    private readonly graceMs: number,
  ) {}

  /** The result does not depend on leadership: a follower is as ready as the leader. */
  check(): HedgeHealth {
    const { backendReachable, unsettledForMs, stopping, stalls } = this.probe();
    const ready = backendReachable && unsettledForMs <= this.graceMs && !stopping;
    return { ready, backendReachable, viewSettled: unsettledForMs === 0, stopping, stalls };
  }
}
