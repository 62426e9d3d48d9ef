import { Spanner as Spanner8 } from '@google-cloud/spanner';
import { Spanner as Spanner9 } from 'spanner9';
import { spanner } from 'nestjs-hedge/spanner';
import { backendConformance } from 'nestjs-hedge/testing';
import { INDEX_DDL, openTarget, TABLE_DDL, TABLES, type Target } from './target.js';

let target: Target;
let close: (() => Promise<void>)[] = [];

async function open(ddl: readonly string[]): Promise<void> {
  target = await openTarget(ddl);
}

async function cleanUp(): Promise<void> {
  for (const one of close) await one();
  close = [];
  await target.close();
}

backendConformance({
  name: 'spanner with a client of its own',
  createFactory: async () => {
    await open([...TABLE_DDL, INDEX_DDL]);
    return spanner({ database: target.database, ...TABLES });
  },
  cleanUp,
});

for (const [version, Spanner] of [
  [8, Spanner8],
  [9, Spanner9],
] as const) {
  backendConformance({
    name: `spanner without the index, with the user's client of version ${version}`,
    createFactory: async () => {
      await open(TABLE_DDL);
      const client = new Spanner({ projectId: 'p', disableBuiltInMetrics: true });
      const [, , , instance = '', , database = ''] = target.database.split('/');
      close.push(() => client.close());
      return spanner({ client: client.instance(instance).database(database), ...TABLES });
    },
    cleanUp,
  });
}
