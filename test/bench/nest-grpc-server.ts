import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { GrpcMethod, Transport, type MicroserviceOptions } from '@nestjs/microservices';
import { answer } from './child.js';

@Controller()
class EchoController {
  @GrpcMethod('Echo', 'Echo')
  echo(message: { text: string }): { text: string } {
    return message;
  }
}

@Module({ controllers: [EchoController] })
class EchoModule {}

const app = await NestFactory.createMicroservice<MicroserviceOptions>(EchoModule, {
  transport: Transport.GRPC,
  logger: ['error'],
  options: {
    package: 'hedge.bench',
    protoPath: new URL('echo.proto', import.meta.url).pathname,
    url: process.env['BENCH_URL'] ?? '',
  },
});
await app.listen();
answer({});
