import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import { openTarget, type Target } from '../spanner/target.js';
import { OrdersController } from './orders.controller.js';
import { SpannerAppModule } from './spanner.module.js';

let target: Target;
let app: TestingModule;

beforeAll(async () => {
  target = await openTarget();
  process.env['SPANNER_DATABASE'] = target.database;
  process.env['HEDGE_ADDRESS'] = '127.0.0.1:0';
  app = await Test.createTestingModule({ imports: [SpannerAppModule] }).compile();
  await app.init();
});

afterAll(async () => {
  await app.close();
  await target.close();
  delete process.env['SPANNER_DATABASE'];
  delete process.env['HEDGE_ADDRESS'];
});

it("runs the quick start's controller on Spanner", async () => {
  const orders = app.get(OrdersController);
  expect(await orders.quote({ qty: 2 })).toEqual({ total: 6, attempt: 1 });
  expect(await orders.flushAll()).toEqual([expect.objectContaining({ value: { flushed: true } })]);
  await orders.save('17', { qty: 2 });
  expect(await orders.load('17')).toMatchObject({ value: '{"qty":2}' });
});
