import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PGBOUNCER, PgBouncer } from '../postgres/pgbouncer.js';
import { startServer } from '../postgres/target.js';
import { openEmulator } from '../spanner/target.js';

/** A database that processes share. */
export interface Arena {
  /** For `backendAt`. */
  readonly database: string;
  close(): void | Promise<void>;
}

export const ARENAS: Readonly<Record<string, () => Promise<Arena>>> = {
  'on one SQLite file': async () => {
    const folder = mkdtempSync(join(tmpdir(), 'hedge-arena-'));
    return { database: join(folder, 'hedge.db'), close: () => rmSync(folder, { recursive: true }) };
  },
  'on PostgreSQL': async () => {
    const server = await startServer();
    return { database: server.url(), close: () => server.stop() };
  },
  ...(PGBOUNCER !== undefined && {
    'on PostgreSQL through PgBouncer': async () => {
      const server = await startServer();
      const bouncer = await PgBouncer.start(server.port);
      const close = async () => {
        await bouncer.stop();
        await server.stop();
      };
      return { database: bouncer.url, close };
    },
  }),
  'on Spanner, whose transactions abort, answers get lost and sessions die': async () => {
    const target = await openEmulator();
    target.emulator.faults.set({
      abortRate: 0.1,
      sessionLossRate: 0.02,
      rules: [
        { method: '*', code: 'UNAVAILABLE', when: 'before', rate: 0.05 },
        { method: 'ExecuteSql', code: 'UNAVAILABLE', when: 'after', rate: 0.02 },
        { method: 'Commit', code: 'UNAVAILABLE', when: 'after', rate: 0.1 },
      ],
    });
    return target;
  },
};
