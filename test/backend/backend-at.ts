import { spanner } from 'nestjs-hedge/spanner';
import { sqlite } from 'nestjs-hedge/sqlite';
import type { Backend } from '../../libs/hedge/src/database/backend.js';

/** @param database `projects/…` for Spanner, else the file of a SQLite database. */
export function backendAt(database: string, timeoutMs: number): Backend {
  const factory = database.startsWith('projects/') ? spanner({ database }) : sqlite({ file: database });
  return factory.create({ timeoutMs });
}
