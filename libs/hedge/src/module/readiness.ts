/** Whether this pod can do its part, for a readiness probe. Asks nobody: safe to call as often as one likes. */
export interface HedgeHealth {
  readonly ready: boolean;
  /** The backend answered the election lately. */
  readonly backendReachable: boolean;
  /** The members are known as of the present leader. */
  readonly viewSettled: boolean;
  /** The pod is on its way out. */
  readonly stopping: boolean;
}

/** Behind `HedgeHealthIndicator`; for health checks without @nestjs/terminus. */
export class HedgeReadiness {
  constructor(private readonly probe: () => Omit<HedgeHealth, 'ready'>) {}

  /** Never about who leads: a follower is as ready as the leader. */
  check(): HedgeHealth {
    const { backendReachable, viewSettled, stopping } = this.probe();
    return { ready: backendReachable && viewSettled && !stopping, backendReachable, viewSettled, stopping };
  }
}
