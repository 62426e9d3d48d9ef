// A script that uses a group without a leader. Only the call that it awaits keeps its process alive.
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { HedgeError, HedgeModule, LeaderService } from 'nestjs-hedge';
import { memory } from 'nestjs-hedge/memory';

@Module({ imports: [HedgeModule.forRoot({ group: 'nobody', mode: 'client', backend: memory() })] })
class ScriptModule {}

const app = await NestFactory.createApplicationContext(ScriptModule, { logger: false });
const answer = await app
  .get(LeaderService)
  .send('job', {}, { timeoutMs: 200 })
  .catch((error: unknown) => error);
await app.close();
console.log(answer instanceof HedgeError ? answer.code : answer);
