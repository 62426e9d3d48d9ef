import { resolve } from 'node:path';
import type { HedgeError } from '../../common/errors.js';
import { shown } from '../../common/validation/shown.js';
import { checkDriverOptions, checkTablesDiffer, invalidOption } from '../driver-options.js';
import type { WorkerConfig } from './protocol.js';

export interface SqliteOptions {
  /**
   * Path of the database file, which all pods of the group on this machine share. A missing file is created, readable by
   * its owner only; a missing folder is not. The file must be on a local disk: SQLite's locks do not work on network file
   * systems.
   */
  readonly file: string;
  /** Name of the table of leases. Letters, digits and `_`. Default: `locktable`. */
  readonly lockTable?: string;
  /** Name of the table of keys and values. Letters, digits and `_`. Default: `logtable`. */
  readonly logTable?: string;
}

const KNOWN: readonly string[] = ['file', 'lockTable', 'logTable'] satisfies (keyof SqliteOptions)[];

/** @throws HedgeError INVALID_OPTIONS */
export function workerConfig(options: SqliteOptions): WorkerConfig {
  checkDriverOptions('sqlite', options, KNOWN, "sqlite({ file: '/data/hedge.db' })");
  const { file, lockTable = 'locktable', logTable = 'logtable' } = options;
  if (typeof file !== 'string' || file === '' || file.includes('\0')) {
    throw invalid(`file must be a path, not ${shown(file)}. Give one, as in sqlite({ file: '/data/hedge.db' }).`);
  }
  if (file === ':memory:') {
    throw invalid('file ":memory:" is a database of one process only. Give a path, or use memory() in tests.');
  }
  if (/^\w{2,}:/.test(file)) {
    throw invalid(`file ${shown(file, '"')} looks like a URL. Give a plain path, as '/data/hedge.db'.`);
  }
  for (const [option, name] of Object.entries({ lockTable, logTable })) {
    if (typeof name !== 'string' || !/^[A-Za-z_]\w{0,62}$/.test(name) || /^(sqlite_|hedge_(clock|file)$)/i.test(name)) {
      throw invalid(
        `${option} ${shown(name, '"')} is no usable table name. Use letters, digits and _, a letter or _ first, not sqlite_… nor hedge_clock or hedge_file.`,
      );
    }
  }
  checkTablesDiffer('sqlite', lockTable, logTable);
  return { file: resolve(file), lockTable, logTable };
}

function invalid(message: string): HedgeError {
  return invalidOption('sqlite', message);
}
