import 'reflect-metadata';
import { ConsoleLogger } from '@nestjs/common';
import { ConfigService } from '@nestjs/config';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { AppModule } from './app.module.js';

const app = await NestFactory.create<NestExpressApplication>(AppModule, {
  bodyParser: false,
  logger: new ConsoleLogger({ json: process.env['LOG_FORMAT'] === 'json' }),
});
app.useBodyParser('text', { type: () => true }); // `curl -d` says it sends a form; here every body is plain text
app.enableShutdownHooks(); // on SIGTERM: finish running work, then hand leadership over
await app.listen(app.get(ConfigService).get<number>('PORT', 9090));
