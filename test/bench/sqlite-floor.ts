import Database from 'libsql';
import { answer } from './child.js';
import { MESSAGE, runBlockingLoad, type LoadShape } from './load.js';

/**
 * The database alone: libsql in this thread, without Hedge, on a table like the log table and with the settings of the
 * driver.
 */
const database = new Database(process.env['BENCH_FILE'] ?? '');
database.pragma('journal_mode = WAL');
database.pragma('synchronous = FULL');
database.pragma('wal_autocheckpoint = 4000');
database.exec(`CREATE TABLE logtable (id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, leader TEXT NOT NULL,
  timestamp INTEGER NOT NULL, PRIMARY KEY (id, key))`);
database.exec('CREATE INDEX latest ON logtable (key, timestamp DESC, id DESC)');
const insert = database.prepare('INSERT INTO logtable (id, key, value, leader, timestamp) VALUES (?, ?, ?, ?, ?)');
const read = database.prepare('SELECT * FROM logtable WHERE key = ? ORDER BY timestamp DESC, id DESC LIMIT 1');

const KEYS = 1_000;
let count = 0;
/** An id as long as a UUID, and rising like the ids of the library. */
const nextId = (): string => String(count).padStart(36, '0');
const nextKey = (): string => `bench/${(count += 1) % KEYS}`;
const insertRow = (): void => void insert.run(nextId(), nextKey(), MESSAGE, '127.0.0.1:7400', count);

const commands = {
  /** Each insert commits separately: one row, one transaction, one fsync. */
  insert: ({ seconds }: LoadShape) => runBlockingLoad(insertRow, seconds),
  read: ({ seconds }: LoadShape) => runBlockingLoad(() => void read.get(nextKey()), seconds),
  fill: () => {
    database.exec('BEGIN');
    for (let row = 0; row < KEYS; row += 1) insertRow();
    database.exec('COMMIT');
  },
};
export type SqliteCommands = typeof commands;
answer(commands);
