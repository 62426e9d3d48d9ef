import { Body, Controller, HttpCode, Logger, Post } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { ClusterService, HedgeContext, LeaderService, OnBroadcast, OnLeaderMessage } from 'nestjs-hedge';

@Controller()
export class MessagesController {
  private readonly logger = new Logger('Messages');

  constructor(
    private readonly leader: LeaderService,
    private readonly cluster: ClusterService,
  ) {}

  /** Runs on the leader only, whichever pod was called. */
  @OnLeaderMessage('greet')
  greet(@Payload() text: string, @Ctx() context: HedgeContext): string {
    this.logger.log(`send from ${context.from.address}: ${text}`);
    return `leader ${this.cluster.self.address} received: ${text}`;
  }

  /** Runs on every pod, the calling pod included. */
  @OnBroadcast('announce')
  announce(@Payload() text: string, @Ctx() context: HedgeContext): string {
    this.logger.log(`broadcast from ${context.from.address}: ${text}`);
    return `member ${this.cluster.self.address} received: ${text}`;
  }

  /** `curl localhost:9090/send -d hello` */
  @Post('send')
  @HttpCode(200)
  async send(@Body() text = 'hello') {
    return { sender: this.cluster.self.address, reply: await this.leader.send<string>('greet', text) };
  }

  /** `curl localhost:9090/broadcast -d hello` */
  @Post('broadcast')
  @HttpCode(200)
  async broadcast(@Body() text = 'hello') {
    return { sender: this.cluster.self.address, replies: await this.cluster.broadcast<string>('announce', text) };
  }
}
