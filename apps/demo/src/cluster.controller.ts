import { Controller, Get } from '@nestjs/common';
import { ClusterService, LeaderService } from 'nestjs-hedge';

@Controller()
export class ClusterController {
  constructor(
    private readonly leader: LeaderService,
    private readonly cluster: ClusterService,
  ) {}

  /** What this pod knows. The token is the leader's own, so only the leader shows one. */
  @Get('cluster')
  state() {
    return {
      self: this.cluster.self,
      leader: this.leader.leader() ?? null,
      isLeader: this.leader.isLeader(),
      token: this.leader.fencingToken?.toString() ?? null,
      view: this.cluster.view,
    };
  }
}
