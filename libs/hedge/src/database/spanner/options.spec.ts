import { describe, expect, it } from '@jest/globals';
import { spannerConfig, type SpannerOptions } from './options.js';

const database = 'projects/p/instances/i/databases/d';
const bare = (options: object): SpannerOptions => options as SpannerOptions;

describe('spanner options', () => {
  it('default to the table names and to strong reads', () => {
    expect(spannerConfig({ database })).toMatchObject({
      lockTable: 'locktable',
      logTable: 'logtable',
      maxStalenessMs: undefined,
    });
    expect(spannerConfig({ database }).source().name).toBe(database);
  });

  it("take the user's client, whose project may be found later", () => {
    const client = { formattedName_: 'projects/{{projectId}}/x', request: () => undefined, requestStream: () => null };
    const { source } = spannerConfig({ client });
    client.formattedName_ = database;
    expect(source().name).toBe(database);
  });

  it.each<[string, SpannerOptions, RegExp]>([
    ['a name by itself', database as never, /spanner\(\{ database: 'projects/],
    ['an option that is misspelt', bare({ database, locktable: 'x' }), /locktable is not an option\. .* lockTable\?/],
    ['an option that there is not', bare({ database, region: 'x' }), /region is not an option\. Known are database,/],
    ['a name that is no text', bare({ database: 7 }), /not 7/],
    ['a client that is nothing', bare({ client: null }), /client must be a Database/],
    ['a table name that is no text', bare({ database, logTable: true }), /logTable true/],
    ['a staleness that is text', bare({ database, maxStalenessMs: '1500' }), /maxStalenessMs .* not '1500'/],
    [
      'a staleness above what Spanner keeps',
      { database, maxStalenessMs: 604_800_001 },
      /at most 7 days, not 604800001/,
    ],
    ['neither database nor client', bare({}), /either database: .* or client/],
    ['both', bare({ database, client: {} }), /either database/],
    ['a name that is not full', { database: 'd' }, /not "d"/],
    ['a name with a space', { database: `${database} ` }, /databases\/DATABASE, not/],
    ['a client that is none', bare({ client: { formattedName_: database } }), /client must be a Database/],
    ['SQL in a table name', { database, lockTable: 'a; DROP TABLE b' }, /lockTable "a; DROP TABLE b"/],
    ['a backtick in a table name', { database, logTable: 'a`b' }, /logTable/],
    ['one name for both tables', { database, lockTable: 'same', logTable: 'SAME' }, /both/],
    ['a staleness of nothing', { database, maxStalenessMs: 0 }, /maxStalenessMs .* not 0/],
    ['a staleness that is no number', { database, maxStalenessMs: Number.NaN }, /not NaN/],
  ])('reject %s', (_what, options, message) => {
    expect(() => spannerConfig(options)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTIONS', message: expect.stringMatching(message) }),
    );
  });
});
