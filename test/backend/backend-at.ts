import { postgres } from 'nestjs-hedge/postgres';
import { spanner } from 'nestjs-hedge/spanner';
import { sqlite } from 'nestjs-hedge/sqlite';
import type { Backend, BackendFactory } from '../../libs/hedge/src/database/backend.js';

/** @param database `projects/…` for Spanner, `postgres://…`, else the file of a SQLite database. */
export function backendAt(database: string, timeoutMs: number): Backend {
  return factoryOf(database).create({ timeoutMs });
}

function factoryOf(database: string): BackendFactory {
  if (database.startsWith('projects/')) return spanner({ database });
  if (database.startsWith('postgres://')) return postgres({ connectionString: database });
  return sqlite({ file: database });
}
