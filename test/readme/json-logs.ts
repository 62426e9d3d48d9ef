import { ConsoleLogger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';

async function bootstrap() {
  // #region json
  const app = await NestFactory.create(AppModule, { logger: new ConsoleLogger({ json: true }) });
  // #endregion
  await app.listen(process.env['PORT'] ?? 3000);
}

void bootstrap();
