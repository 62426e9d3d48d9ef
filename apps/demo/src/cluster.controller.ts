import { Controller, Get, HttpCode, Post } from '@nestjs/common';
import { ClusterService, LeaderService } from 'nestjs-hedge';

@Controller()
export class ClusterController {
  constructor(
    private readonly leader: LeaderService,
    private readonly cluster: ClusterService,
  ) {}

  /** The state of the group on this pod. Only the leader has a token. */
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

  /** `curl -X POST localhost:9090/resign`: the leader steps down, whichever pod is called. */
  @Post('resign')
  @HttpCode(200)
  resign(): Promise<void> {
    return this.leader.requestResignation();
  }
}
