import { BadRequestException, Body, Controller, HttpCode, Post } from '@nestjs/common';
import { LeaderService } from 'nestjs-hedge';

/** Synchronous work, which blocks the event loop. */
@Controller()
export class BlockController {
  constructor(private readonly leader: LeaderService) {}

  /** `curl localhost:9090/block -d 5000`: computes for 5 s. Returns whether this pod led all the time, and its token. */
  @Post('block')
  @HttpCode(200)
  block(@Body() body: string | undefined) {
    const [ms] = /^\d{1,5}$/.exec(body ?? '') ?? [];
    if (ms === undefined) throw new BadRequestException('the body must be a number of milliseconds, such as: 5000');
    const token = this.leader.fencingToken?.toString() ?? null;
    let led = token !== null;
    for (const end = performance.now() + Number(ms); performance.now() < end;) led &&= this.leader.isLeader();
    return { led, token };
  }
}
