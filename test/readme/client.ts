import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { HedgeModule, KvStore } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';

// #region client
@Module({
  imports: [HedgeModule.forRoot({ group: 'orders', mode: 'client', backend: sqlite({ file: '/data/hedge.db' }) })],
})
class ScriptModule {}

const app = await NestFactory.createApplicationContext(ScriptModule);
console.log(await app.get(KvStore).keys('orders/'));
await app.close();
// #endregion
