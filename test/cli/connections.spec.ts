import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Libsql from 'libsql';
import { LeaderService, LockService } from 'nestjs-hedge';
import { CertificateAuthority } from '../../libs/hedge/src/testing/certificates.js';
import { secretKey } from '../../libs/hedge/src/database/row-names.js';
import { until } from '../nest/apps.js';
import { LiveGroup, nestjsHedge, Running } from './command-line.js';

/** Every command that prints a result, in an order in which each succeeds. */
const COMMANDS = [
  ['status'],
  ['members'],
  ['leader'],
  ['send', 'double', '{"number":4}'],
  ['broadcast', 'flush'],
  ['kv', 'put', 'a', '1'],
  ['kv', 'get', 'a'],
  ['kv', 'history', 'a'],
  ['kv', 'keys'],
  ['kv', 'delete', 'a'],
  ['locks', 'ls'],
  ['semaphore', 'ls'],
  ['jobs', 'ls'],
  ['jobs', 'pause', 'tidy up'],
  ['jobs', 'resume', 'tidy up'],
  ['jobs', 'run', 'tidy up'],
  ['jobs', 'history', 'tidy up'],
  ['doctor'],
  ['resign'],
] as const;

const PRINTS_TOKEN = ['--', process.execPath, '-p', 'process.env.HEDGE_FENCING_TOKEN'];

/** Each command succeeds, and prints one JSON document on request. */
async function expectAllToWork(group: LiveGroup): Promise<void> {
  for (const args of COMMANDS) {
    const { code, out, err } = await group.run('--timing', 'wan', '-o', 'json', ...args);
    expect({ args, code, err }).toEqual({ args, code: 0, err: '' });
    expect(out).toMatch(/^[^\n]+\n$/);
    JSON.parse(out);
  }
}

afterEach(() => Running.killAll());

describe('the command line on Spanner', () => {
  let group: LiveGroup;
  beforeAll(async () => {
    group = await LiveGroup.start('spanner');
  });
  afterAll(() => group.close());

  it('runs every command, with JSON on request', () => expectAllToWork(group));

  it('status and doctor name the leader and find nothing wrong', async () => {
    await until(() => group.pods.apps.some((app) => app.get(LeaderService).isLeader()), 'a leader');
    const token = String(group.leader.get(LeaderService).fencingToken);
    expect(await group.json('status')).toMatchObject({ token, database: expect.stringContaining('spanner') });
    const { code, out } = await group.run('doctor');
    expect(out).toMatch(/^ok +lease +at least/m);
    expect({ code, problems: out.match(/^problem.*/gm) }).toEqual({ code: 0, problems: null });
  });

  it('lock excludes the pods', async () => {
    const held = await group.leader.get(LockService).acquire('report');
    const args = [...group.options, '--timing', 'wan', 'lock', 'report', '--wait', '0', ...PRINTS_TOKEN];
    expect(await new Running(args).ended).toMatchObject({ code: 124, out: '', err: expect.stringContaining('report') });
    await held.release();
    const ended = await new Running(args).ended;
    expect(ended).toMatchObject({ code: 0, err: '' });
    expect(BigInt(ended.out)).toBeGreaterThan(held.fencingToken);
    expect(await group.leader.get(LockService).holder('report')).toBeUndefined();
  });
});

describe('the command line over TLS, with a group secret', () => {
  const SECRET = 'a secret of the group that only its pods know';
  const NAME = 'cli.internal';
  const authority = new CertificateAuthority('ours');
  let group: LiveGroup;
  let folder: string;
  let tls: string[];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'hedge-cli-tls-'));
    const fileOf = (name: string, text: string): string => {
      const file = join(folder, name);
      writeFileSync(file, text);
      return file;
    };
    const { cert, key } = authority.issue(NAME);
    tls = [
      '--tls-ca',
      fileOf('ca', authority.cert),
      '--tls-cert',
      fileOf('cert', cert),
      '--tls-key',
      fileOf('key', key),
    ];
    tls.push('--tls-server-name', NAME);
    group = await LiveGroup.start('sqlite', {
      secret: SECRET,
      tls: { ca: authority.cert, serverName: NAME, requireClientCertificate: true, ...authority.issue(NAME) },
    });
  });
  afterAll(async () => {
    await group.close();
    rmSync(folder, { recursive: true, force: true });
  });
  afterEach(() => {
    delete group.environment['HEDGE_SECRET'];
  });

  it('runs every command, with JSON on request', async () => {
    const overTls = Object.create(group, { options: { value: [...group.options, ...tls] } }) as LiveGroup;
    group.environment['HEDGE_SECRET'] = SECRET;
    await expectAllToWork(overTls);
    const args = [...overTls.options, '--timing', 'wan', 'lock', 'report', ...PRINTS_TOKEN];
    const ended = await new Running(args, group.environment).ended;
    expect(ended).toMatchObject({ code: 0, out: expect.stringMatching(/^\d{19}\n$/), err: '' });
  });

  it('is refused without the secret, and writes none to the database', async () => {
    for (const secret of [undefined, 'another secret that the pods do not have']) {
      if (secret !== undefined) group.environment['HEDGE_SECRET'] = secret;
      const { code, err } = await group.run(...tls, 'send', 'double', '{"number":4}');
      expect(code).toBe(1);
      expect(err).toContain('does not have the secret of this group');
      const { out } = await group.run(...tls, 'doctor');
      expect(out).toMatch(/^problem +leader .* does not have the secret of this group/m);
    }
    const database = new Libsql(group.options.at(-1)!);
    const rows = database.prepare('SELECT count(*) AS count FROM logtable WHERE key = ?').get(secretKey('cli'));
    database.close();
    expect(rows).toMatchObject({ count: 0 });
  });

  it.each([
    ['without TLS', () => []],
    ['with a certificate of another authority', () => otherAuthority(folder, NAME)],
  ])('is refused %s', async (_, options) => {
    group.environment['HEDGE_SECRET'] = SECRET;
    const { code, out, err } = await group.run('--timeout', '2s', ...options(), 'send', 'double', '{"number":4}');
    expect({ code, out }).toEqual({ code: 5, out: '' });
    expect(err).not.toBe('');
  });

  it('names a file that cannot be read', async () => {
    const { code, err } = await group.run(...tls, '--tls-ca', join(folder, 'missing'), 'status');
    expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining('missing cannot be read') });
  });
});

function otherAuthority(folder: string, name: string): string[] {
  const theirs = new CertificateAuthority('theirs');
  const files = Object.entries({ ca: theirs.cert, ...theirs.issue(name) }).flatMap(([option, text]) => {
    const file = join(folder, `other-${option}`);
    writeFileSync(file, text);
    return [`--tls-${option}`, file];
  });
  return [...files, '--tls-server-name', name];
}

describe('a file of another program', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'hedge-cli-file-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each([
    ['with other tables', ['CREATE TABLE orders (id INTEGER PRIMARY KEY)']],
    [
      'with tables of the same names',
      ['CREATE TABLE locktable (name TEXT, token TEXT)', 'CREATE TABLE logtable (id TEXT, timestamp TEXT)'],
    ],
    ['without tables', []],
  ])('%s is refused, and not changed', async (name, statements) => {
    const file = join(folder, name);
    const database = new Libsql(file);
    for (const statement of statements) database.exec(statement);
    database.close();
    if (statements.length === 0) writeFileSync(file, '');
    const before = readFileSync(file);
    for (const command of [['status'], ['lock', 'a', '--', 'true'], ['kv', 'put', 'a', 'b']]) {
      const { code, out, err } = await nestjsHedge('--group', 'a', '--file', file, ...command);
      expect({ code, out }).toEqual({ code: 2, out: '' });
      expect(err).toContain(`${file} cannot be used: it has no tables locktable and logtable of Hedge`);
    }
    const { code, out } = await nestjsHedge('--group', 'a', '--file', file, 'doctor');
    expect({ code, out }).toEqual({ code: 4, out: expect.stringMatching(/^problem +database .* has no tables/) });
    expect(readFileSync(file).equals(before)).toBe(true);
  });
});

it('schema prints its statements as JSON on request', async () => {
  const { code, out } = await nestjsHedge('schema', '--dialect', 'postgres', '-o', 'json');
  const { statements } = JSON.parse(out) as { statements: string[] };
  expect({ code, first: statements[0], last: statements.at(-1) }).toEqual({ code: 0, first: 'BEGIN', last: 'COMMIT' });
});
