// One pod in a separate process, with metrics.
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { PrometheusModule } from '@willsoto/nestjs-prometheus';
import { HedgeModule } from 'nestjs-hedge';
import { HedgePrometheusModule } from 'nestjs-hedge/prometheus';
import { sqlite } from 'nestjs-hedge/sqlite';

const [file = ''] = process.argv.slice(2);

@Module({
  imports: [
    HedgeModule.forRoot({ group: 'traced', address: '127.0.0.1:0', timing: 'local', backend: sqlite({ file }) }),
    PrometheusModule.register(),
    HedgePrometheusModule.forRoot(),
  ],
})
class PodModule {}

const app = await NestFactory.create(PodModule, { logger: false, abortOnError: false });
await app.listen(0, '127.0.0.1');
process.send?.(await app.getUrl());
