import { describe, expect, it } from '@jest/globals';
import { isAbsolute } from 'node:path';
import { workerConfig, type SqliteOptions } from './options.js';

describe('sqlite options', () => {
  it('make the path absolute and default to the table names', () => {
    const config = workerConfig({ file: 'hedge.db' });
    expect(isAbsolute(config.file)).toBe(true);
    expect(config).toMatchObject({ lockTable: 'locktable', logTable: 'logtable' });
  });

  it.each<[string, SqliteOptions, RegExp]>([
    ['no file', {} as SqliteOptions, /file must be a path/],
    ['a path by itself', '/data/hedge.db' as unknown as SqliteOptions, /sqlite\(\{ file/],
    [
      'an option that there is not',
      { file: 'x', logTabel: 'y' } as SqliteOptions,
      /logTabel is not an option\. Did you mean logTable\?/,
    ],
    ['a table name that is no text', { file: 'x', logTable: true as never }, /logTable true/],
    ['an empty file', { file: '' }, /file must be a path/],
    ['a database in memory', { file: ':memory:' }, /use memory\(\)/],
    ['a URL', { file: 'libsql://host/db' }, /looks like a URL/],
    ['SQL in a table name', { file: 'x', lockTable: 'a; DROP TABLE b' }, /lockTable "a; DROP TABLE b"/],
    ['a name that SQLite keeps for itself', { file: 'x', logTable: 'sqlite_log' }, /logTable "sqlite_log"/],
    ['the name of our own clock', { file: 'x', logTable: 'Hedge_Clock' }, /logTable "Hedge_Clock"/],
    ['the name of the table with the id of the file', { file: 'x', lockTable: 'hedge_file' }, /lockTable "hedge_file"/],
    ['a URL with a password, without showing it', { file: 'libsql://u:pass@host/db' }, /file "libsql:\/…" \(23/],
    ['one name for both', { file: 'x', logTable: 'same', lockTable: 'Same' }, /both/],
  ])('reject %s', (_what, options, message) => {
    expect(() => workerConfig(options)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTIONS', message: expect.stringMatching(message) }),
    );
  });
});
