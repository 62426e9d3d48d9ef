import type { Pool, PoolClient } from 'pg';
import type { ConformanceApplication } from 'nestjs-hedge/testing';

// #region pg
export function pgApplication(pool: () => Pool): ConformanceApplication {
  return {
    name: 'pg',
    source: pool,
    table: {
      insert: (tx, id) => (tx as PoolClient).query('INSERT INTO invoice VALUES ($1)', [id]),
      has: async (id) => (await pool().query('SELECT FROM invoice WHERE id = $1', [id])).rows.length > 0,
    },
    async begin(work) {
      const client = await pool().connect();
      try {
        await client.query('BEGIN');
        await work(client);
        await client.query('COMMIT');
      } finally {
        // Ends the transaction, if it is open.
        client.release(true);
      }
    },
    outside: () => [pool()],
  };
}
// #endregion
