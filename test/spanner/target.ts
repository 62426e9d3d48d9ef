import { randomUUID } from 'node:crypto';
import { Spanner } from '@google-cloud/spanner';
import { startSpannerEmulator, type SpannerEmulator, type SpannerEmulatorOptions } from 'hedge-spanner-emulator';
// The DDL that the command prints.
import { indexDdl, tableDdl } from '../../libs/hedge/src/database/spanner/schema.js';

// Tests use no metadata server.
process.env['METADATA_SERVER_DETECTION'] = 'none';

export const TABLES = { lockTable: 'locktable', logTable: 'logtable' };
export const TABLE_DDL = tableDdl(TABLES);
export const INDEX_DDL = indexDdl(TABLES);

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
