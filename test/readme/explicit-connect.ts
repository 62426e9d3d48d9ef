import { NestFactory } from '@nestjs/core';
import { HedgeStrategy } from 'nestjs-hedge';
import { AppModule } from './app.module.js';

// #region connect
const app = await NestFactory.create(AppModule);
app.connectMicroservice({ strategy: app.get(HedgeStrategy) });
app.enableShutdownHooks();
await app.listen(3000);
// #endregion
