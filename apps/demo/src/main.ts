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
// `curl -d` says it sends a form; here every body is plain text, and what is to be streamed is left to its handler.
app.useBodyParser('text', { type: ({ url }: IncomingMessage) => !url?.startsWith('/stream') });
// On SIGTERM: finish running work, hand leadership over, end with code 0. Not by the signal itself, as Nest does
// otherwise: as process 1 of a container that does nothing, and whatever is still open would hold the process.
app.enableShutdownHooks([], { useProcessExit: true });
await app.listen(app.get(ConfigService).get<number>('PORT', 9090));
