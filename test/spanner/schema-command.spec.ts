import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spanner } from 'nestjs-hedge/spanner';
import { nestjsHedge } from '../cli/command-line.js';
import { openTarget, type Target } from './target.js';

describe('nestjs-hedge schema', () => {
  let target: Target;

  beforeEach(async () => {
    target = await openTarget([]);
  });

  afterEach(() => target.close());

  it('prints the tables with the given names, and the index on request', async () => {
    const { code, out, err } = await nestjsHedge('schema', '--lock-table', 'locks', '--log-table', 'log');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toBe(`CREATE TABLE IF NOT EXISTS \`locks\` (
  name STRING(MAX) NOT NULL,
  heartbeat TIMESTAMP OPTIONS (allow_commit_timestamp=true),
  token TIMESTAMP OPTIONS (allow_commit_timestamp=true),
  writer STRING(MAX)
) PRIMARY KEY (name);

CREATE TABLE IF NOT EXISTS \`log\` (
  id STRING(MAX),
  key STRING(MAX),
  value STRING(MAX),
  leader STRING(MAX),
  timestamp TIMESTAMP OPTIONS (allow_commit_timestamp=true)
) PRIMARY KEY (key, id);

`);
    expect((await nestjsHedge('schema', '--index')).out).toContain(
      'CREATE INDEX IF NOT EXISTS `logtable_latest` ON `logtable` (key, timestamp DESC, id DESC)',
    );
  }, 60_000);

  it('applies them repeatedly, and then the driver finds all that it needs', async () => {
    const options = { database: target.database, lockTable: 'locks', logTable: 'log' };
    const backend = spanner(options).create({ timeoutMs: 10_000 });
    await expect(backend.open()).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
    for (let times = 0; times < 2; times++) {
      const args = ['--lock-table', 'locks', '--log-table', 'log', '--index', '--apply', '--database', target.database];
      const { code, err } = await nestjsHedge('schema', ...args);
      expect({ code, err }).toEqual({ code: 0, err: `Applied to ${target.database}.\n` });
    }
    await backend.open();
    await backend.close();
  }, 60_000);

  it.each([
    [['schema', '--dialect', 'postgresql'], 2, '--dialect postgresql is not supported'],
    [['schema', '--apply'], 2, '--apply needs --database'],
    [['schema', '--apply', '--database', 'd'], 2, 'projects/PROJECT/instances/INSTANCE/databases/DATABASE, not "d"'],
    [['schema', '--tables', 'x'], 2, "unknown option '--tables'"],
    [['schema', '--log-table', 'a-b'], 2, 'logTable "a-b" is no usable table name'],
    [['schemas'], 2, "unknown command 'schemas'"],
  ])(
    'refuses %j',
    async (args, code, message) => {
      const finished = await nestjsHedge(...args);
      expect(finished).toMatchObject({ code, err: expect.stringContaining(message) });
    },
    30_000,
  );
});
