import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import { LeaderService } from 'nestjs-hedge';
import { HedgeTestingModule } from 'nestjs-hedge/testing';
import { OrdersController } from './orders.controller.js';

let app: TestingModule;
beforeAll(async () => {
  const imports = [HedgeTestingModule.forRoot()];
  app = await Test.createTestingModule({ imports, controllers: [OrdersController] }).compile();
  await app.init(); // from here on this pod leads
});
afterAll(() => app.close());

it('prices an order on the leader', async () => {
  expect(await app.get(LeaderService).send('price', { qty: 2 })).toEqual({ total: 6, attempt: 1 });
});

it('keeps an order', async () => {
  await app.get(OrdersController).save('17', { qty: 2 });
  expect(await app.get(OrdersController).load('17')).toMatchObject({ value: '{"qty":2}' });
});
