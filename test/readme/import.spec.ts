import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import { ClusterService, LeaderService } from 'nestjs-hedge';
import { HedgeTestingModule } from 'nestjs-hedge/testing';
import { ImportController, importAll, warmUpAll } from './import.controller.js';

let app: TestingModule;
beforeAll(async () => {
  const imports = [HedgeTestingModule.forRoot()];
  app = await Test.createTestingModule({ imports, controllers: [ImportController] }).compile();
  await app.init();
});
afterAll(() => app.close());

async function* rows() {
  yield { id: 'a' };
  yield { id: 'b' };
}

it('streams rows to the leader, which streams replies', async () => {
  expect(await importAll(app.get(LeaderService), rows)).toEqual(['a', 'b']);
});

it('streams keys to every pod', async () => {
  expect(await warmUpAll(app.get(ClusterService), ['x', 'y', 'z'])).toBe(3);
});

it('decorated methods can still be called directly', async () => {
  const controller = app.get(ImportController);
  expect(await controller.warmUp((async function* () {})())).toEqual({ loaded: 0 });
});
