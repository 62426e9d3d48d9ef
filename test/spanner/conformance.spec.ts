import { Spanner as Spanner8 } from '@google-cloud/spanner';
import { Spanner as Spanner9 } from 'spanner9';
import { spanner } from 'nestjs-hedge/spanner';
import { backendConformance } from 'nestjs-hedge/testing';
import {
  databaseOf,
  INDEX_DDL,
  INVOICE_DDL,
  openTarget,
  spannerApplication,
  TABLE_DDL,
  TABLES,
  type Target,
} from './target.js';

let target: Target;
let client: Spanner8;

const applications = [spannerApplication(() => databaseOf(client, target))];

async function open(ddl: readonly string[], Spanner: typeof Spanner8 = Spanner8): Promise<void> {
  target = await openTarget([...ddl, INVOICE_DDL]);
  client = new Spanner({ projectId: 'p', disableBuiltInMetrics: true });
}

async function cleanUp(): Promise<void> {
  await client.close();
  await target.close();
}

backendConformance({
  name: 'spanner with a client of its own',
  createFactory: async () => {
    await open([...TABLE_DDL, INDEX_DDL]);
    return spanner({ database: target.database, ...TABLES });
  },
  applications,
  cleanUp,
});

for (const [version, Spanner] of [
  [8, Spanner8],
  [9, Spanner9 as unknown as typeof Spanner8],
] as const) {
  backendConformance({
    name: `spanner without the index, with the user's client of version ${version}`,
    createFactory: async () => {
      await open(TABLE_DDL, Spanner);
      return spanner({ client: databaseOf(client, target), ...TABLES });
    },
    applications,
    cleanUp,
  });
}
