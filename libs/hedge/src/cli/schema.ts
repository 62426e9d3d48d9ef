import type { Command } from 'commander';
import { applyDdl as applyToPostgres } from '../database/postgres/client/apply-ddl.js';
import { checkedConnectionString, nameOf, tableNames as postgresTables } from '../database/postgres/options.js';
import { schemaDdl } from '../database/postgres/schema.js';
import { applyDdl as applyToSpanner } from '../database/spanner/client/google-client.js';
import { databaseName, tableNames as spannerTables } from '../database/spanner/options.js';
import { indexDdl, tableDdl } from '../database/spanner/schema.js';
import { messageOf } from '../common/errors.js';
import { UsageError } from './exit-codes.js';
import type { CommandAdder, Terminal } from './command.js';
import type { ConnectionOptions } from './connection.js';
import { Output } from './output.js';

interface Options {
  readonly dialect: string;
  readonly index: boolean;
  readonly apply: boolean;
  readonly schema: string | undefined;
  readonly lockTable: string;
  readonly logTable: string;
  readonly url: string | undefined;
  readonly database: string | undefined;
}

/** `schema` needs no group: it prints the tables, or creates them. */
export function addSchemaCommand(program: Command, { add, terminal }: CommandAdder): void {
  add(
    program,
    'schema',
    'Prints the statements that create the tables in Cloud Spanner or PostgreSQL. It is safe to run them again.',
    'schema --dialect postgres --apply --url postgres://hedge:secret@db/app',
  )
    .option('--dialect <name>', 'googlesql (Spanner) or postgres', 'googlesql')
    .option(
      '--index',
      'adds an index: reading the newest value then costs the same for any number of versions, and each put writes its value twice (PostgreSQL always has the index)',
      false,
    )
    .option(
      '--apply',
      'runs the statements: on --database, with Application Default Credentials or on SPANNER_EMULATOR_HOST; or on --url, in one transaction',
      false,
    )
    .action(async (_options: unknown, command: Command) => {
      const output = new Output(command.optsWithGlobals<ConnectionOptions>().output, terminal.out);
      await runSchemaCommand(parseSchemaCommand(givenOptions(command)), output, terminal);
    });
}

/** Of the environment, only the address of PostgreSQL counts: the other variables describe a running group. */
function givenOptions(command: Command): Options {
  const { dialect, index, apply, ...others } = command.optsWithGlobals<{
    readonly dialect: string;
    readonly index: boolean;
    readonly apply: boolean;
    readonly [option: string]: unknown;
  }>();
  const given = (option: string): string | undefined =>
    command.parent?.getOptionValueSource(option) === 'cli' ? (others[option] as string) : undefined;
  return {
    dialect,
    index,
    apply,
    schema: given('schema'),
    lockTable: given('lockTable') ?? 'locktable',
    logTable: given('logTable') ?? 'logtable',
    url: given('url') ?? (dialect === 'postgres' ? process.env['DATABASE_URL'] : undefined),
    database: given('database'),
  };
}

interface SchemaCommand {
  readonly statements: readonly string[];
  /** Whether the statements are one transaction. */
  readonly atomic: boolean;
  /** The database on which to run them; undefined to print them only. */
  readonly target?: { readonly name: string; apply(statements: readonly string[]): Promise<void> };
}

/** @throws UsageError, or HedgeError INVALID_OPTIONS for invalid names. */
function parseSchemaCommand(options: Options): SchemaCommand {
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

async function runSchemaCommand(
  { statements, atomic, target }: SchemaCommand,
  output: Output,
  { err }: Terminal,
): Promise<void> {
  try {
    await target?.apply(statements);
  } catch (error) {
    const reason = messageOf(error).replace(/\.$/, '');
    const advice = 'Correct the cause, and run the command again: that is safe.';
    throw new Error(`Applying the schema to ${target?.name} failed: ${reason}. ${advice}`, { cause: error });
  }
  const printed = atomic ? ['BEGIN', ...statements, 'COMMIT'] : statements;
  output.printValue({ statements: printed }, printed.map((statement) => `${statement};\n\n`).join(''));
  if (target !== undefined) err(`Applied to ${target.name}.\n`);
}

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
  if (options.url === undefined) throw new UsageError('--apply needs --url postgres://USER:PASSWORD@HOST/DATABASE.');
  const connectionString = checkedConnectionString(options.url);
  const name = nameOf({ connectionString });
  return { statements, atomic: true, target: { name, apply: (ddl) => applyToPostgres(connectionString, ddl) } };
}

function namesIn({ lockTable, logTable }: Options): { lockTable: string; logTable: string } {
  return { lockTable, logTable };
}
