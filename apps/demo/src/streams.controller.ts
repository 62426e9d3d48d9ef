import { All, Controller, Logger, Req, type StreamableFile } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import type { IncomingMessage } from 'node:http';
import { ClusterService, HedgeContext, LeaderService, OnBroadcastStream, OnLeaderStream } from 'nestjs-hedge';
import { answerWith, linesOf } from './line-stream.js';

@Controller()
export class StreamsController {
  private readonly logger = new Logger('Streams');

  constructor(
    private readonly leader: LeaderService,
    private readonly cluster: ClusterService,
  ) {}

  /** Runs on the leader for each `/streamsend`, and on every pod for each `/streambroadcast`. */
  @OnLeaderStream('lines')
  @OnBroadcastStream('lines')
  async *echo(@Payload() lines: AsyncIterable<string>, @Ctx() { from }: HedgeContext): AsyncGenerator<string, void> {
    const { address } = this.cluster.self;
    let count = 0;
    for await (const line of lines) yield `${address} received ${(count += 1)}: ${line}`;
    this.logger.log(`stream from ${from.address}: ${count} lines`);
    yield `${address} counted ${count} lines`;
  }

  /** `seq 5 | curl -T . localhost:9090/streamsend`, or with `-d`: streams lines to the leader, and returns its replies as they arrive. */
  @All('streamsend')
  streamSend(@Req() request: IncomingMessage): Promise<StreamableFile> {
    return answerWith(this.leader.sendStream<string>('lines', linesOf(request)));
  }

  /** `seq 5 | curl -T . localhost:9090/streambroadcast`, or with `-d`: streams lines to every pod, and returns all replies. */
  @All('streambroadcast')
  streamBroadcast(@Req() request: IncomingMessage): Promise<StreamableFile> {
    return answerWith(this.repliesOfAll(linesOf(request)));
  }

  private async *repliesOfAll(lines: AsyncIterable<string>): AsyncGenerator<string, void> {
    for await (const event of this.cluster.broadcastStream<string>('lines', lines)) {
      if (event.type === 'reply') yield event.value;
      else if (event.error !== undefined) yield `${event.member.address} failed: ${event.error.message}`;
    }
  }
}
