import { parseArgs } from 'node:util';
import { applyDdl as applyToPostgres } from '../database/postgres/client/apply-ddl.js';
import { checkedConnectionString, nameOf, tableNames as postgresTables } from '../database/postgres/options.js';
import { schemaDdl } from '../database/postgres/schema.js';
import { applyDdl as applyToSpanner } from '../database/spanner/client/google-client.js';
import { databaseName, tableNames as spannerTables } from '../database/spanner/options.js';
import { indexDdl, tableDdl } from '../database/spanner/schema.js';
import { messageOf } from '../common/errors.js';

export const SCHEMA_USAGE = `nestjs-hedge schema [--dialect googlesql] [--lock-table locktable] [--log-table logtable]
                    [--index] [--apply --database projects/P/instances/I/databases/D]
nestjs-hedge schema --dialect postgres [--schema hedge] [--lock-table locktable] [--log-table logtable]
                    [--apply --url postgres://USER:PASSWORD@HOST/DATABASE]

Prints the statements that create the tables of a group in Cloud Spanner or PostgreSQL. It is safe to run them again.

  --index     adds an index: reading the newest value then costs the same for any number of versions, and each put
              writes its value twice (PostgreSQL always has the index)
  --apply     runs the statements: on --database, with Application Default Credentials or on SPANNER_EMULATOR_HOST; or
              on --url, by default DATABASE_URL of the environment, in one transaction
`;

/** An invalid command line. The message says what to change. */
export class UsageError extends Error {}

export interface SchemaCommand {
  readonly statements: readonly string[];
  /** Whether the statements are one transaction. */
  readonly atomic: boolean;
  /** The database on which to run them; undefined to print them only. */
  readonly target?: { readonly name: string; apply(statements: readonly string[]): Promise<void> };
}

/** @throws UsageError, or HedgeError INVALID_OPTIONS for invalid names. */
export function parseSchemaCommand(args: readonly string[]): SchemaCommand {
  const options = parse(args);
  switch (options.dialect) {
    case 'googlesql':
      return spannerCommand(options);
    case 'postgres':
      return postgresCommand(options);
    default:
      throw new UsageError(
        `--dialect ${options.dialect} is not supported. Use googlesql (Spanner) or postgres. (SQLite needs no schema: its driver creates the tables.)`,
      );
  }
}

export async function runSchemaCommand({ statements, atomic, target }: SchemaCommand): Promise<void> {
  try {
    await target?.apply(statements);
  } catch (error) {
    const reason = messageOf(error).replace(/\.$/, '');
    const advice = 'Correct the cause, and run the command again: that is safe.';
    throw new Error(`Applying the schema to ${target?.name} failed: ${reason}. ${advice}`, { cause: error });
  }
  const printed = atomic ? ['BEGIN', ...statements, 'COMMIT'] : statements;
  for (const statement of printed) console.log(`${statement};\n`);
  if (target !== undefined) console.error(`Applied to ${target.name}.`);
}

type Options = ReturnType<typeof parse>;

function spannerCommand(options: Options): SchemaCommand {
  if (options.schema !== undefined || options.url !== undefined) {
    throw new UsageError('--schema and --url go with --dialect postgres.');
  }
  const tables = spannerTables(namesIn(options));
  const statements = [...tableDdl(tables), ...(options.index ? [indexDdl(tables)] : [])];
  if (!options.apply) return { statements, atomic: false };
  if (options.database === undefined) {
    throw new UsageError('--apply needs --database projects/PROJECT/instances/INSTANCE/databases/DATABASE.');
  }
  const name = databaseName(options.database);
  return { statements, atomic: false, target: { name, apply: (ddl) => applyToSpanner(name, ddl) } };
}

function postgresCommand(options: Options): SchemaCommand {
  if (options.index || options.database !== undefined) {
    throw new UsageError('--index and --database go with --dialect googlesql.');
  }
  const { schema } = options;
  const statements = schemaDdl(postgresTables({ ...namesIn(options), ...(schema !== undefined && { schema }) }));
  if (!options.apply) return { statements, atomic: true };
  const given = options.url ?? process.env['DATABASE_URL'];
  if (given === undefined) throw new UsageError('--apply needs --url postgres://USER:PASSWORD@HOST/DATABASE.');
  const connectionString = checkedConnectionString(given);
  const name = nameOf({ connectionString });
  return { statements, atomic: true, target: { name, apply: (ddl) => applyToPostgres(connectionString, ddl) } };
}

function namesIn(options: Options): { lockTable: string; logTable: string } {
  return { lockTable: options['lock-table'], logTable: options['log-table'] };
}

function parse(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        dialect: { type: 'string', default: 'googlesql' },
        schema: { type: 'string' },
        'lock-table': { type: 'string', default: 'locktable' },
        'log-table': { type: 'string', default: 'logtable' },
        index: { type: 'boolean', default: false },
        apply: { type: 'boolean', default: false },
        database: { type: 'string' },
        url: { type: 'string' },
      },
    });
    return values;
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}
