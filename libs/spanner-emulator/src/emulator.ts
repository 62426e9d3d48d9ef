import { Catalog } from './catalog.js';
import { Faults, type FaultOptions } from './faults.js';
import { DatabaseAdmin } from './service/admin/database-admin.js';
import { InstanceAdmin } from './service/admin/instance-admin.js';
import { Operations } from './service/admin/operations.js';
import { Protos } from './service/protos.js';
import { GrpcServer } from './service/server.js';
import { Sessions } from './service/sessions.js';
import { SpannerService } from './service/spanner-service.js';
import { Statements } from './service/statements.js';
import { parseDdl, splitDdl } from './sql/ddl-parser.js';

/** Options of the server. Instance and database are created before it listens. */
export interface SpannerEmulatorOptions {
  /** Port to listen on; 0 for a free one. Default 9010, as Google's emulator. */
  readonly port?: number;
  /** Address to listen on. Default 127.0.0.1, because the server has no authentication. */
  readonly host?: string;
  /** Default `p`, `i` and `d`. */
  readonly project?: string;
  readonly instance?: string;
  readonly database?: string;
  /** The schema of the database: statements, or one text with semicolons. */
  readonly ddl?: string | readonly string[];
  readonly faults?: FaultOptions;
  /**
   * Milliseconds after which an idle transaction loses its locks to waiting transactions.
   * Default 10000, as in Spanner.
   */
  readonly idleTransactionMs?: number;
  /** Milliseconds for which old versions are kept in memory and can be read. Default 3600000, as in Spanner. */
  readonly versionRetentionMs?: number;
  /** Returns milliseconds since the epoch, for tests that control the time. Default: the clock of the machine. */
  readonly clock?: () => number;
}

/** The work of the server since its start. */
export interface Counters {
  /** Calls by method name. */
  readonly calls: Readonly<Record<string, number>>;
  /** Rows that queries and reads scanned, whether returned or not. */
  readonly rowsScanned: number;
}

export interface SpannerEmulator {
  readonly port: number;
  /** For `SPANNER_EMULATOR_HOST`. */
  readonly address: string;
  /** `projects/…/instances/…/databases/…` of the database that was created at the start. */
  readonly database: string;
  /** The injected faults. They may be changed while the server runs. */
  readonly faults: Faults;
  counters(): Counters;
  /** Stops the server, and breaks the calls in progress. All data is lost. */
  close(): void;
}

/**
 * Starts a Cloud Spanner server in this process.
 *
 * @throws SpannerError when the DDL is invalid, and an Error when it cannot listen on the address
 * @example
 * const emulator = await startSpannerEmulator({ port: 0, ddl: 'CREATE TABLE t (k INT64) PRIMARY KEY (k)' });
 * process.env.SPANNER_EMULATOR_HOST = emulator.address;
 */
export const startSpannerEmulator = async (options: SpannerEmulatorOptions = {}): Promise<SpannerEmulator> => {
  const { host = '127.0.0.1', project = 'p', instance = 'i', database = 'd' } = options;
  const faults = new Faults(options.faults);
  let rowsScanned = 0;
  const countRow = (): void => {
    rowsScanned++;
  };
  const catalog = new Catalog({
    clock: options.clock ?? Date.now,
    idleTransactionMs: options.idleTransactionMs ?? 10_000,
    versionRetentionMs: options.versionRetentionMs ?? 3_600_000,
    shareCommitTimestamps: () => faults.equalCommitTimestamps,
    onRowScanned: countRow,
  });
  const instanceName = `projects/${project}/instances/${instance}`;
  const databaseName = `${instanceName}/databases/${database}`;
  const config = `projects/${project}/instanceConfigs/emulator-config`;
  catalog.createInstance({ name: instanceName, displayName: instance, config, nodeCount: 1 });
  const made = catalog.createDatabase(databaseName);
  const statements = typeof options.ddl === 'string' ? splitDdl(options.ddl) : (options.ddl ?? []);
  for (const statement of statements) made.applyDdl(parseDdl(statement));

  const protos = new Protos();
  const operations = new Operations();
  const server = new GrpcServer(protos, faults);
  const spanner = new SpannerService(new Sessions(catalog, faults), new Statements(countRow), faults);
  server.addService('google.spanner.v1.Spanner', spanner.handlers);
  server.addService(
    'google.spanner.admin.database.v1.DatabaseAdmin',
    new DatabaseAdmin(catalog, operations, protos).handlers,
  );
  server.addService(
    'google.spanner.admin.instance.v1.InstanceAdmin',
    new InstanceAdmin(catalog, operations, protos).handlers,
  );
  server.addService('google.longrunning.Operations', operations.handlers);
  const port = await server.listen(host, options.port ?? 9010);
  const housekeeping = setInterval(() => catalog.tick(), 250).unref();

  return {
    port,
    address: `${host}:${port}`,
    database: databaseName,
    faults,
    counters: () => ({ calls: Object.fromEntries(server.calls), rowsScanned }),
    close: () => {
      clearInterval(housekeeping);
      faults.clear();
      server.close();
    },
  };
};
