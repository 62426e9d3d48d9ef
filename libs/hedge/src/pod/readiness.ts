/** Whether this pod can serve, for a readiness probe. It makes no call, so it may be read at any rate. */
export interface HedgeHealth {
  readonly ready: boolean;
  /** The backend answered the election lately. */
  readonly backendReachable: boolean;
  /** The members are known as of the present leader. During a change of leader a pod stays ready without it. */
  readonly viewSettled: boolean;
  /** The pod has begun to stop. */
  readonly stopping: boolean;
}

export interface ReadinessFacts {
  readonly backendReachable: boolean;
  /** 0 while the view is settled, Infinity before it was for the first time. */
  readonly unsettledForMs: number;
  readonly stopping: boolean;
}

/** Behind `HedgeHealthIndicator`; for health checks without @nestjs/terminus. */
export class HedgeReadiness {
  /**
   * @param graceMs how long a view may be unsettled. A change of leader unsettles it on all pods at once, and
   *   must not take all of them out of the load balancer while they serve.
   */
  constructor(
    private readonly probe: () => ReadinessFacts,
    private readonly graceMs: number,
  ) {}

  /** Does not depend on leadership: a follower is as ready as the leader. */
  check(): HedgeHealth {
    const { backendReachable, unsettledForMs, stopping } = this.probe();
    const ready = backendReachable && unsettledForMs <= this.graceMs && !stopping;
    return { ready, backendReachable, viewSettled: unsettledForMs === 0, stopping };
  }
}
