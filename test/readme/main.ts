import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';

const app = await NestFactory.create(AppModule);
app.enableShutdownHooks(); // on SIGTERM: finish running work, then hand over the leadership
await app.listen(3000);
