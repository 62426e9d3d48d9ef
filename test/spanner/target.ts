import { randomUUID } from 'node:crypto';
import { Spanner } from '@google-cloud/spanner';
import { startSpannerEmulator, type SpannerEmulator, type SpannerEmulatorOptions } from 'hedge-spanner-emulator';
import type { ConformanceApplication } from 'nestjs-hedge/testing';
// The DDL that the command prints.
import { indexDdl, tableDdl } from '../../libs/hedge/src/database/spanner/schema.js';

// Tests use no metadata server.
process.env['METADATA_SERVER_DETECTION'] = 'none';

export const TABLES = { lockTable: 'locktable', logTable: 'logtable' };
export const TABLE_DDL = tableDdl(TABLES);
export const INDEX_DDL = indexDdl(TABLES);

export const INVOICE_DDL = 'CREATE TABLE invoice (id STRING(MAX) NOT NULL, cents INT64) PRIMARY KEY (id)';

type Database = ReturnType<ReturnType<Spanner['instance']>['database']>;
type Transaction = Parameters<Parameters<Database['runTransactionAsync']>[1]>[0];

/** The database of a target, in a client of the user. */
export function databaseOf(client: Spanner, target: Target): Database {
  const [, , , instance = '', , database = ''] = target.database.split('/');
  return client.instance(instance).database(database);
}

/** An application for the conformance suite, with the table of `INVOICE_DDL`. */
export function spannerApplication(database: () => Database): ConformanceApplication {
  return {
    name: '@google-cloud/spanner',
    source: database,
    table: {
      insert: (tx, id) =>
        (tx as Transaction).runUpdate({ sql: 'INSERT INTO invoice (id) VALUES (@id)', params: { id } }),
      async has(id) {
        const [rows] = await database().run({ sql: 'SELECT 1 FROM invoice WHERE id = @id', params: { id } });
        return rows.length > 0;
      },
    },
    begin: (work) =>
      database().runTransactionAsync(async (tx) => {
        await work(tx);
        await tx.commit();
      }),
    outside: () => [database()],
  };
}

/** A fresh database of a server that `SPANNER_EMULATOR_HOST` names while it is open. */
export interface Target {
  /** `host:port` */
  readonly address: string;
  /** `projects/…/instances/…/databases/…` */
  readonly database: string;
  close(): Promise<void>;
}

/** On the server that `SPANNER_EMULATOR_HOST` points at, and on our own emulator without it. */
export async function openTarget(ddl: readonly string[] = TABLE_DDL): Promise<Target> {
  const external = process.env['SPANNER_EMULATOR_HOST'];
  if (external === undefined) return openEmulator({ ddl });
  const spanner = new Spanner({ projectId: 'p' });
  const instance = spanner.instance('i');
  const [exists] = await instance.exists();
  if (!exists) {
    const [, operation] = await instance.create({ config: 'emulator-config', nodes: 1, displayName: 'test' });
    await operation.promise();
  }
  const [database, operation] = await instance.createDatabase(`d${randomUUID().slice(0, 8)}`, { schema: [...ddl] });
  await operation.promise();
  return {
    address: external,
    database: database.formattedName_,
    close: async () => {
      await database.delete();
      await spanner.close();
    },
  };
}

/** Our own emulator, for tests that need its faults and counters. */
export async function openEmulator(
  options: SpannerEmulatorOptions = {},
): Promise<Target & { readonly emulator: SpannerEmulator }> {
  const emulator = await startSpannerEmulator({ port: 0, ddl: TABLE_DDL, ...options });
  const before = process.env['SPANNER_EMULATOR_HOST'];
  process.env['SPANNER_EMULATOR_HOST'] = emulator.address;
  return {
    emulator,
    address: emulator.address,
    database: emulator.database,
    close: async () => {
      if (before === undefined) delete process.env['SPANNER_EMULATOR_HOST'];
      else process.env['SPANNER_EMULATOR_HOST'] = before;
      emulator.close();
    },
  };
}
