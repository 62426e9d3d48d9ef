import type { Catalog } from '../../catalog.js';
import { invalidArgument, unimplemented } from '../../common/status.js';
import { printDdl } from '../../query/ddl-printer.js';
import type { Ddl } from '../../sql/ast.js';
import { parseDdl } from '../../sql/ddl-parser.js';
import type { Database } from '../../storage/database.js';
import { toProtoTime } from '../codec.js';
import { asSpannerError, type Operations } from './operations.js';
import { checkNewDatabase } from '../../common/resource-names.js';
import { pageOf, refuseFilter } from '../paging.js';
import type { google, Protos } from '../protos.js';
import type { Handlers } from '../server.js';

type V1 = typeof google.spanner.admin.database.v1;
type Request<K extends keyof V1> = V1[K] extends abstract new (...args: never[]) => infer R ? R : never;

const TYPE = 'google.spanner.admin.database.v1';
/** Database.State.READY, DatabaseDialect.GOOGLE_STANDARD_SQL and .POSTGRESQL */
const READY = 2;
const GOOGLE_STANDARD_SQL = 1;
const POSTGRESQL = 2;

/** google.spanner.admin.database.v1.DatabaseAdmin: databases and their schemas. */
export class DatabaseAdmin {
  constructor(
    private readonly catalog: Catalog,
    private readonly operations: Operations,
    private readonly protos: Protos,
  ) {}

  readonly handlers: Handlers = {
    CreateDatabase: (request: Request<'CreateDatabaseRequest'>) => this.create(request),
    GetDatabase: ({ name }: Request<'GetDatabaseRequest'>) => toProto(this.catalog.database(name)),
    ListDatabases: ({ parent, ...request }: Request<'ListDatabasesRequest'>) => {
      this.catalog.instance(parent);
      const { page, nextPageToken } = pageOf(this.catalog.databasesOf(parent), request);
      return { databases: page.map(toProto), nextPageToken };
    },
    UpdateDatabaseDdl: (request: Request<'UpdateDatabaseDdlRequest'>) => this.updateDdl(request),
    GetDatabaseDdl: ({ database }: Request<'GetDatabaseDdlRequest'>) => ({
      statements: printDdl(this.catalog.database(database).schema),
    }),
    DropDatabase: ({ database }: Request<'DropDatabaseRequest'>) => {
      this.catalog.dropDatabase(database);
      return {};
    },
    ListDatabaseOperations: ({ parent, filter, ...request }: Request<'ListDatabaseOperationsRequest'>) => {
      this.catalog.instance(parent);
      refuseFilter('ListDatabaseOperations', filter);
      const { page, nextPageToken } = pageOf(this.operations.list(`${parent}/databases/`), request);
      return { operations: page, nextPageToken };
    },
  };

  private create(request: Request<'CreateDatabaseRequest'>): object {
    if (Number(request.databaseDialect) === POSTGRESQL) throw unimplemented('the PostgreSQL dialect');
    const statement = parseDdl(request.createStatement);
    if (statement.kind !== 'createDatabase') {
      throw invalidArgument(`Invalid "CREATE DATABASE" statement: ${request.createStatement}`);
    }
    checkNewDatabase(statement.name);
    const schema = request.extraStatements.map(parseDdl);
    const name = `${request.parent}/databases/${statement.name}`;
    const database = this.catalog.createDatabase(name);
    try {
      for (const ddl of schema) database.applyDdl(ddl);
    } catch (error) {
      this.catalog.dropDatabase(name);
      throw error;
    }
    const metadata = this.protos.pack(`${TYPE}.CreateDatabaseMetadata`, { database: name });
    const response = this.protos.pack(`${TYPE}.Database`, toProto(database));
    return this.operations.finish(name, undefined, metadata, { response });
  }

  /** Statements before a failed one stay applied, as in Spanner. The operation reports the failure. */
  private updateDdl({ database: name, statements, operationId }: Request<'UpdateDatabaseDdlRequest'>): object {
    const database = this.catalog.database(name);
    if (statements.length === 0) throw invalidArgument('Missing statements in the request.');
    const parsed = statements.map(parseDdl);
    const { commitTimestamps, error } = applyAll(database, parsed);
    if (error !== undefined && commitTimestamps.length === 0) throw error;
    const metadata = this.protos.pack(`${TYPE}.UpdateDatabaseDdlMetadata`, {
      database: name,
      statements,
      commitTimestamps,
    });
    const result =
      error === undefined
        ? { response: this.protos.pack('google.protobuf.Empty', {}) }
        : { error: asSpannerError(error) };
    return this.operations.finish(name, operationId, metadata, result);
  }
}

const applyAll = (database: Database, statements: readonly Ddl[]) => {
  const commitTimestamps: google.protobuf.ITimestamp[] = [];
  for (const ddl of statements) {
    try {
      database.applyDdl(ddl);
    } catch (error) {
      return { commitTimestamps, error };
    }
    commitTimestamps.push(toProtoTime(database.now()));
  }
  return { commitTimestamps, error: undefined };
};

const toProto = ({ name }: Database) => ({ name, state: READY, databaseDialect: GOOGLE_STANDARD_SQL });
