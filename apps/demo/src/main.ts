import 'reflect-metadata';
import { ConsoleLogger } from '@nestjs/common';
import { ConfigService } from '@nestjs/config';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { IncomingMessage } from 'node:http';
import { AppModule } from './app.module.js';

const app = await NestFactory.create<NestExpressApplication>(AppModule, {
  bodyParser: false,
  logger: new ConsoleLogger({ json: process.env['LOG_FORMAT'] === 'json' }),
});
// `curl -d` declares its body as a form. Here every body is plain text, and a streamed body is left to its handler.
app.useBodyParser('text', { type: ({ url }: IncomingMessage) => !url?.startsWith('/stream') });
// On SIGTERM: finish running work, hand over the leadership, and exit with code 0. By default, Nest ends the process by
// the signal itself. That has no effect on process 1 of a container, and open resources would keep the process alive.
app.enableShutdownHooks([], { useProcessExit: true });
await app.listen(app.get(ConfigService).get<number>('PORT', 9090));
