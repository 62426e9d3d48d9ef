import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import Database from 'libsql';
import { sqlite } from '../../libs/hedge/src/database/sqlite/index.js';
import { answer } from './child.js';
import { MESSAGE, runBlockingLoad, runLoad, type LoadShape } from './load.js';

/**
 * The database alone: libsql in this thread, without Hedge, on a table like the log table and with the settings of the
 * driver.
 */
const file = process.env['BENCH_FILE'] ?? '';
const database = new Database(file);
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

/** The driver alone, in its thread, on a file of its own: a part of each put. */
const driver = sqlite({ file: `${file}.driver` }).create({ timeoutMs: 10_000 });
const LEASE = 'bench';
let fence: Promise<{ lease: string; token: bigint }> | undefined;

async function acquired() {
  await driver.open();
  const holder = { address: '127.0.0.1:7400', incarnation: 'bench' };
  const result = await driver.lease.acquire({ name: LEASE, holder, leaseMs: 60_000 });
  if (!result.acquired) throw new Error('the lease of the benchmark is held');
  return { lease: LEASE, token: result.token };
}

async function append(): Promise<void> {
  fence ??= acquired();
  await driver.log.append([{ key: nextKey(), id: nextId(), value: MESSAGE, leader: '127.0.0.1:7400' }], await fence);
}

/** A thread that returns each message: what a call to the driver costs without the database. */
const ECHO = `const { parentPort } = require('node:worker_threads');
  parentPort.on('message', (message) => parentPort.postMessage(message));`;
let thread: Worker | undefined;

async function roundTrip(): Promise<void> {
  thread ??= new Worker(ECHO, { eval: true });
  thread.postMessage([MESSAGE], []);
  await once(thread, 'message');
}

const commands = {
  append: (shape: LoadShape) => runLoad(append, shape),
  /** Each insert commits separately: one row, one transaction, one fsync. */
  insert: ({ seconds }: LoadShape) => runBlockingLoad(insertRow, seconds),
  roundTrip: (shape: LoadShape) => runLoad(roundTrip, shape),
  read: ({ seconds }: LoadShape) => runBlockingLoad(() => void read.get(nextKey()), seconds),
  fill: () => {
    database.exec('BEGIN');
    for (let row = 0; row < KEYS; row += 1) insertRow();
    database.exec('COMMIT');
  },
};
export type SqliteCommands = typeof commands;
answer(commands);
