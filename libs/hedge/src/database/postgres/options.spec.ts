import { describe, expect, it } from '@jest/globals';
import { nameOf, postgresConfig, type PostgresOptions } from './options.js';

const url = 'postgres://user:p%40ss@db.example:5433/orders?sslmode=require';

describe('postgres options', () => {
  it('have a schema and table names', () => {
    expect(postgresConfig({ connectionString: url })).toMatchObject({
      schema: 'hedge',
      lockTable: 'locktable',
      logTable: 'logtable',
    });
  });

  it.each([
    [url, 'postgres db.example:5433/orders'],
    ['postgresql://user:pass@word@db/orders', 'postgres db/orders'],
    ['socket:/var/run?db=orders', 'postgres'],
  ])('name the database of %s without credentials', (connectionString, name) => {
    expect(nameOf({ connectionString })).toBe(name);
  });

  it('name the database of a pool without its password', () => {
    const options = { host: 'db', port: 5433, database: 'orders', user: 'u', password: 'secret' };
    const pool = { options, connect: () => Promise.reject(new Error('not called')) };
    expect(postgresConfig({ pool }).name).toBe('postgres db:5433/orders');
  });

  it.each<[string, unknown, RegExp]>([
    ['nothing', {}, /one of connectionString, pool .* or client/],
    ['two sources', { connectionString: url, client: { query: () => undefined } }, /one of connectionString/],
    ['a connection string alone', url, /not an object/],
    [
      'another URL',
      { connectionString: 'mysql://u:secret@db/orders' },
      /connectionString must be postgres:.*"mysql:\/\/…"/,
    ],
    ['an option that does not exist', { connectionString: url, tables: 'x' }, /tables is not an option/],
    ['something else as pool', { pool: { query: () => undefined } }, /pool must be a pg.Pool/],
    ['a client that cannot query', { client: {} }, /client must have a method query/],
    ['a lease client without a client', { connectionString: url, leaseClient: {} }, /leaseClient goes with client/],
    [
      'ssl with a pool',
      { pool: { options: {}, connect: () => undefined }, ssl: true },
      /ssl goes with connectionString/,
    ],
    ['ssl that is a text', { connectionString: url, ssl: 'require' }, /ssl must be/],
    ['SQL in a schema', { connectionString: url, schema: 'a"; DROP TABLE b' }, /schema .* is no usable name/],
    ['a name in capitals', { connectionString: url, logTable: 'Log' }, /logTable "Log" is no usable name/],
    ['a long name', { connectionString: url, logTable: 'l'.repeat(49) }, /at most 48/],
    [
      'a table of the driver',
      { connectionString: url, logTable: 'hedge_clock' },
      /is the name of a table of the driver/,
    ],
    ['one name for both tables', { connectionString: url, logTable: 'same', lockTable: 'same' }, /both/],
  ])('reject %s', (_what, options, message) => {
    expect(() => postgresConfig(options as PostgresOptions)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTIONS', message: expect.stringMatching(message) }),
    );
    expect(() => postgresConfig(options as PostgresOptions)).not.toThrow(/secret|p%40ss/);
  });
});
