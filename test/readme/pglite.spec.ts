import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { PGlite } from '@electric-sql/pglite';
import { Test, type TestingModule } from '@nestjs/testing';
import { postgres } from 'nestjs-hedge/postgres';
import { HedgeTestingModule } from 'nestjs-hedge/testing';
import { schemaDdl } from '../../libs/hedge/src/database/postgres/schema.js';
import { TABLES } from '../postgres/target.js';
import { OrdersController } from './orders.controller.js';

const tables = schemaDdl(TABLES).join(';\n');

// #region pglite
let database: PGlite;
let app: TestingModule;
beforeAll(async () => {
  database = await PGlite.create();
  await database.exec(tables); // the output of: npx nestjs-hedge schema --dialect postgres
  const backend = postgres({ client: { query: (text, values) => database.query(text, values) } });
  const imports = [HedgeTestingModule.forRoot({ backend })];
  app = await Test.createTestingModule({ imports, controllers: [OrdersController] }).compile();
  await app.init(); // from here on this pod leads
});
afterAll(async () => {
  await app.close();
  await database.close();
});

it('keeps an order in PostgreSQL', async () => {
  await app.get(OrdersController).save('17', { qty: 2 });
  const { rows } = await database.query(`SELECT value FROM hedge.logtable WHERE key = 'orders/17'`);
  expect(rows).toEqual([{ value: '{"qty":2}' }]);
});
// #endregion
