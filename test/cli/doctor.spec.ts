import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { ClusterService, LeaderService } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import type { PostgresServer } from '../../scripts/postgres-server.js';
import { PATIENT, Pods, until } from '../nest/apps.js';
import { PGBOUNCER, PgBouncer } from '../postgres/pgbouncer.js';
import { sql, startServer, TABLES } from '../postgres/target.js';
import { schemaDdl } from '../../libs/hedge/src/database/postgres/schema.js';
import { leaseName } from '../../libs/hedge/src/database/row-names.js';
import { nestjsHedge, type Ended } from './command-line.js';

const doctor = (url: string): Promise<Ended> => nestjsHedge('doctor', '--group', 'cli', '--url', url);

describe('nestjs-hedge doctor on PostgreSQL', () => {
  let server: PostgresServer;
  let pods: Pods;
  beforeAll(async () => {
    server = await startServer();
  });
  beforeEach(async () => {
    await sql(server.url(), 'DROP SCHEMA IF EXISTS hedge CASCADE', ...schemaDdl(TABLES));
    pods = new Pods({}, { group: 'cli', timing: PATIENT, backend: postgres({ connectionString: server.url() }) });
  });
  afterEach(() => pods.close());
  afterAll(() => server.stop());

  it('names a missing table and a missing right, with the statements that add them', async () => {
    await sql(server.url(), 'DROP TABLE hedge.logtable');
    const { code, out } = await doctor(server.url());
    expect(code).toBe(4);
    expect(out).toMatch(/^problem {2}database .*lacks table logtable/);
    expect(out).toContain('CREATE TABLE IF NOT EXISTS "hedge"."logtable"');
  });

  it('names a role that may not write', async () => {
    await sql(
      server.url(),
      'DROP ROLE IF EXISTS reader',
      'CREATE ROLE reader LOGIN',
      'GRANT USAGE ON SCHEMA hedge TO reader',
    );
    await sql(server.url(), 'GRANT SELECT ON ALL TABLES IN SCHEMA hedge TO reader');
    const { code, out } = await doctor(server.url().replace('postgres@', 'reader@'));
    expect(code).toBe(4);
    expect(out).toContain('GRANT INSERT, UPDATE ON "hedge"."locktable" TO "reader"');
    await sql(server.url(), 'DROP OWNED BY reader', 'DROP ROLE reader');
  });

  it('names a server that refuses writes', async () => {
    await sql(server.url(), 'ALTER DATABASE postgres SET default_transaction_read_only = on');
    const { code, out } = await doctor(server.url());
    await sql(
      server.url(),
      'SET default_transaction_read_only = off',
      'ALTER DATABASE postgres RESET default_transaction_read_only',
    );
    expect(code).toBe(4);
    expect(out).toMatch(/^problem {2}writes +The server refuses writes/m);
  });

  it('says that a group has never had a leader, and shows the version and the clock of the server', async () => {
    const { code, out } = await doctor(server.url());
    expect(code).toBe(4);
    expect(out).toMatch(/^ok +server +PostgreSQL \d+/m);
    expect(out).toMatch(/^ok +clock +of the database: /m);
    expect(out).toMatch(/^ok +pooler +none/m);
    expect(out).toMatch(/^problem +leader +Group cli has never had a leader/m);
  });

  it('names a leader that this machine cannot reach', async () => {
    const backend = postgres({ connectionString: server.url() }).create({ timeoutMs: 5_000 });
    await backend.lease.acquire({
      name: leaseName('cli'),
      holder: { address: '127.0.0.1:1', incarnation: 'gone' },
      leaseMs: 60_000,
    });
    await backend.close();
    const { code, out } = await doctor(server.url());
    expect(code).toBe(4);
    expect(out).toMatch(/^problem +leader +127\.0\.0\.1:1 holds the lease and does not answer this machine/m);
  });

  it('names members with another timing', async () => {
    await pods.start();
    await pods.start({ timing: { ...PATIENT, leaseMs: 110_000 } });
    await until(() => pods.apps.every((app) => app.get(ClusterService).view.members.length === 2), 'two members');
    const { code, out } = await doctor(server.url());
    const leader = pods.apps.find((app) => app.get(LeaderService).isLeader())!;
    const other = pods.apps.find((app) => app !== leader)!;
    expect(code).toBe(4);
    expect(out).toContain(`${other.get(ClusterService).self.address} has another leaseMs than the leader`);
  });

  (PGBOUNCER === undefined ? it.skip : it)('recognises PgBouncer in transaction mode', async () => {
    const bouncer = await PgBouncer.start(server.port);
    try {
      const { out } = await doctor(bouncer.url);
      expect(out).toMatch(/^note +pooler +a pooler shares one session between transactions/m);
    } finally {
      await bouncer.stop();
    }
  });

  it('ends with code 4 when the database does not answer', async () => {
    const { code, out } = await doctor('postgres://127.0.0.1:1/none');
    expect(code).toBe(4);
    expect(out).toMatch(/^problem {2}database /);
  });
});
