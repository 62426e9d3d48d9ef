import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { startServer } from '../postgres/target.js';
import { OrdersController } from './orders.controller.js';
import { PostgresAppModule } from './postgres.module.js';

let server: PostgresServer;
let app: TestingModule;

beforeAll(async () => {
  server = await startServer();
  process.env['DATABASE_URL'] = server.url();
  process.env['HEDGE_ADDRESS'] = '127.0.0.1:0';
  app = await Test.createTestingModule({ imports: [PostgresAppModule] }).compile();
  await app.init();
});

afterAll(async () => {
  await app.close();
  await server.stop();
  delete process.env['DATABASE_URL'];
  delete process.env['HEDGE_ADDRESS'];
});

it("runs the quick start's controller on PostgreSQL", async () => {
  const orders = app.get(OrdersController);
  expect(await orders.quote({ qty: 2 })).toEqual({ total: 6, attempt: 1 });
  expect(await orders.flushAll()).toEqual([expect.objectContaining({ value: { flushed: true } })]);
  await orders.save('17', { qty: 2 });
  expect(await orders.load('17')).toMatchObject({ value: '{"qty":2}' });
});
