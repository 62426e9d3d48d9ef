import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Get, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { HedgeModule, LeaderService, LockService, OnLeaderMessage } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';

const { DATABASE_URL = '', HEDGE_ADDRESS = ':7400', PORT = '3000' } = process.env;

@Controller()
class MonthController {
  constructor(
    private readonly leader: LeaderService,
    private readonly locks: LockService,
  ) {}

  @OnLeaderMessage('who') // runs on the leader only
  who() {
    return { leader: process.pid };
  }

  @Get('who') // on any pod: ask the leader
  ask() {
    return this.leader.send('who', {});
  }

  @Post('close') // on any pod: one at a time in the whole group
  close() {
    return this.locks.use('close-month', async ({ fencingToken }) => {
      await sleep(2_000);
      return { closedBy: process.pid, fencingToken: String(fencingToken) };
    });
  }
}

@Module({
  imports: [
    HedgeModule.forRoot({
      group: 'months',
      address: HEDGE_ADDRESS,
      backend: postgres({ connectionString: DATABASE_URL }),
    }),
  ],
  controllers: [MonthController],
})
class AppModule {}

const app = await NestFactory.create(AppModule);
app.enableShutdownHooks();
await app.listen(PORT);
