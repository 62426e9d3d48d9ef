import { parseArgs } from 'node:util';
import { applyDdl } from '../database/spanner/client/google-client.js';
import { databaseName, tableNames } from '../database/spanner/options.js';
import { indexDdl, tableDdl } from '../database/spanner/schema.js';
import { messageOf } from '../common/errors.js';

export const SCHEMA_USAGE = `nestjs-hedge schema [--dialect googlesql] [--lock-table locktable] [--log-table logtable]
                    [--index] [--apply --database projects/P/instances/I/databases/D]

Prints the statements that create the tables of a group in Cloud Spanner. It is safe to run them again.

  --index     adds an index: reading the newest value then costs the same for any number of versions, and each put
              writes its value twice
  --apply     runs the statements on --database, with Application Default Credentials or on SPANNER_EMULATOR_HOST
`;

/** An invalid command line. The message says what to change. */
export class UsageError extends Error {}

export interface SchemaCommand {
  readonly statements: readonly string[];
  /** The database on which to run them; undefined to print them only. */
  readonly applyTo?: string;
}

/** @throws UsageError, or HedgeError INVALID_OPTIONS for invalid names. */
export function parseSchemaCommand(args: readonly string[]): SchemaCommand {
  const { values } = parse(args);
  if (values.dialect !== 'googlesql') {
    throw new UsageError(
      `--dialect ${values.dialect} is not supported. Use googlesql. (SQLite needs no schema: its driver creates the tables.)`,
    );
  }
  const tables = tableNames({ lockTable: values['lock-table'], logTable: values['log-table'] });
  const statements = [...tableDdl(tables), ...(values.index ? [indexDdl(tables)] : [])];
  if (!values.apply) return { statements };
  if (values.database === undefined) {
    throw new UsageError('--apply needs --database projects/PROJECT/instances/INSTANCE/databases/DATABASE.');
  }
  return { statements, applyTo: databaseName(values.database) };
}

export async function runSchemaCommand({ statements, applyTo }: SchemaCommand): Promise<void> {
  for (const statement of statements) console.log(`${statement};\n`);
  if (applyTo === undefined) return;
  await applyDdl(applyTo, statements);
  console.error(`Applied to ${applyTo}.`);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        dialect: { type: 'string', default: 'googlesql' },
        'lock-table': { type: 'string', default: 'locktable' },
        'log-table': { type: 'string', default: 'logtable' },
        index: { type: 'boolean', default: false },
        apply: { type: 'boolean', default: false },
        database: { type: 'string' },
      },
    });
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}
