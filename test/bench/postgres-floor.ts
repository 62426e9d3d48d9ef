import { Pool } from 'pg';
import { tableNames } from '../../libs/hedge/src/database/postgres/options.js';
import { namesOf } from '../../libs/hedge/src/database/postgres/sql.js';
import { answer } from './child.js';
import { MESSAGE, runLoad, type LoadShape } from './load.js';
import { POLL_MS, SCHEMA } from './postgres-schema.js';

/** The package `pg` alone, without Hedge, on a table like the log table. */
const pool = (max: number) => new Pool({ connectionString: process.env['BENCH_POSTGRES'], max });
const pools = { one: pool(1), many: pool(16) };
const { log } = namesOf(tableNames({ schema: SCHEMA.floor }));

const KEYS = 1_000;
let count = 0;
const nextKey = (): string => `bench/${(count += 1) % KEYS}`;
/** As long as a UUID, and rising like the ids of the library. */
const nextId = (): string => String(count).padStart(36, '0');
const poolOf = ({ concurrency }: LoadShape): Pool => (concurrency === 1 ? pools.one : pools.many);

const insert = (from: Pool) =>
  from.query(`INSERT INTO ${log} (key, id, value, leader, timestamp) VALUES ($1, $2, $3, $4, $5)`, [
    nextKey(),
    nextId(),
    MESSAGE,
    '127.0.0.1:7400',
    count,
  ]);

const commands = {
  /** One row in each statement, which commits it. */
  insert: (shape: LoadShape) => runLoad(() => insert(poolOf(shape)), shape),
  select: (shape: LoadShape) =>
    runLoad(
      () =>
        poolOf(shape).query(`SELECT * FROM ${log} WHERE key = $1 ORDER BY timestamp DESC, id DESC LIMIT 1`, [
          nextKey(),
        ]),
      shape,
    ),
  fill: async () => {
    for (let row = 0; row < KEYS; row += 1) await insert(pools.one);
  },
  /** A lock of the session, taken and freed on one connection of a pool. */
  advisoryLock: (shape: LoadShape) =>
    runLoad(async () => {
      const client = await pools.many.connect();
      await client.query('SELECT pg_advisory_lock(1)');
      await client.query('SELECT pg_advisory_unlock(1)');
      client.release();
    }, shape),
  /** Waiters for one lock, of which each tries again after a pause. */
  poll: (shape: LoadShape) =>
    runLoad(async () => {
      for (;;) {
        const client = await pools.many.connect();
        const { rows } = await client.query<{ taken: boolean }>('SELECT pg_try_advisory_lock(2) AS taken');
        const taken = rows[0]?.taken === true;
        if (taken) await client.query('SELECT pg_advisory_unlock(2)');
        client.release();
        if (taken) return;
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    }, shape),
};
export type PostgresFloorCommands = typeof commands;
answer(commands);
