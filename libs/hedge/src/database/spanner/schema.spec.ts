import { describe, expect, it } from '@jest/globals';
import { describeLacks, lacksOf, type FoundSchema } from './schema.js';

const TABLES = { lockTable: 'Locks', logTable: 'log' };

const COMPLETE: FoundSchema = {
  columns: new Map([
    ['locks.name', 'STRING(MAX)'],
    ['locks.heartbeat', 'TIMESTAMP'],
    ['locks.token', 'TIMESTAMP'],
    ['locks.writer', 'STRING(1024)'],
    ['log.id', 'STRING(MAX)'],
    ['log.key', 'STRING(MAX)'],
    ['log.value', 'STRING(MAX)'],
    ['log.leader', 'STRING(MAX)'],
    ['log.timestamp', 'TIMESTAMP'],
  ]),
  commitTimestamps: new Set(['locks.heartbeat', 'locks.token', 'log.timestamp']),
  primaryKeys: new Map([
    ['locks', ['name']],
    ['log', ['key', 'id']],
  ]),
  latestIndex: undefined,
};

const without = <K, V>(map: ReadonlyMap<K, V>, key: K) => new Map([...map].filter(([other]) => other !== key));

describe('the check of the tables', () => {
  it('accepts the tables in any letter case', () => {
    expect(lacksOf(TABLES, COMPLETE)).toEqual([]);
  });

  it('names a missing table, with the statement that creates it', () => {
    const lacks = lacksOf(TABLES, { ...COMPLETE, primaryKeys: without(COMPLETE.primaryKeys, 'log') });
    expect(lacks).toEqual([{ what: 'table log', ddl: expect.stringMatching(/^CREATE TABLE IF NOT EXISTS `log` \(/) }]);
    expect(describeLacks(lacks, TABLES, 'the/database')).toMatch(
      /^lacks table log\. Run this, or npx nestjs-hedge schema --lock-table Locks --log-table log --apply --database the\/database:\n/,
    );
  });

  it('names a missing column', () => {
    const lacks = lacksOf(TABLES, { ...COMPLETE, columns: without(COMPLETE.columns, 'log.leader') });
    expect(lacks).toEqual([{ what: 'column log.leader', ddl: 'ALTER TABLE `log` ADD COLUMN leader STRING(MAX)' }]);
    expect(describeLacks(lacks, TABLES, 'the/database')).toBe(
      'lacks column log.leader. Run this:\nALTER TABLE `log` ADD COLUMN leader STRING(MAX);',
    );
  });

  it('names a column of another type', () => {
    const columns = new Map(COMPLETE.columns).set('locks.token', 'INT64');
    const lacks = lacksOf(TABLES, { ...COMPLETE, columns });
    expect(lacks).toEqual([{ what: 'type TIMESTAMP of column Locks.token, which has INT64' }]);
    expect(describeLacks(lacks, TABLES, 'the/database')).toMatch(/Name other tables/);
  });

  it('names a column that does not allow commit timestamps', () => {
    const lacks = lacksOf(TABLES, { ...COMPLETE, commitTimestamps: new Set(['locks.heartbeat', 'locks.token']) });
    expect(lacks).toEqual([
      {
        what: 'commit timestamps in column log.timestamp',
        ddl: 'ALTER TABLE `log` ALTER COLUMN timestamp SET OPTIONS (allow_commit_timestamp=true)',
      },
    ]);
  });

  it('names another primary key', () => {
    const primaryKeys = new Map(COMPLETE.primaryKeys).set('log', ['id']);
    expect(lacksOf(TABLES, { ...COMPLETE, primaryKeys })).toEqual([
      { what: 'primary key (key, id) of table log, which has (id)' },
    ]);
  });
});
