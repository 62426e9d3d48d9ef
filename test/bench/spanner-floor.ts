import { randomUUID } from 'node:crypto';
import { Spanner } from '@google-cloud/spanner';
import { answer } from './child.js';
import { MESSAGE, runLoad, type LoadShape } from './load.js';

/** Google's client alone, without Hedge, on the log table. */
const [, projectId = '', , instance = '', , name = ''] = (process.env['BENCH_SPANNER'] ?? '').split('/');
const database = new Spanner({ projectId, disableBuiltInMetrics: true }).instance(instance).database(name);
const table = database.table('logtable');

const KEYS = 1_000;
let count = 0;
const nextKey = (): string => `floor/${(count += 1) % KEYS}`;

const insert = () =>
  table.insert({
    key: nextKey(),
    id: randomUUID(),
    value: MESSAGE,
    leader: '127.0.0.1:7400',
    timestamp: Spanner.COMMIT_TIMESTAMP,
  });

const NEWEST = `SELECT id, value, leader, timestamp FROM logtable@{FORCE_INDEX=logtable_latest} WHERE key = @key
  ORDER BY timestamp DESC, id DESC LIMIT 1`;

const commands = {
  /** Commits each row separately, in one call. */
  insert: (shape: LoadShape) => runLoad(insert, shape),
  /** One query for each key. */
  read: (shape: LoadShape) => runLoad(() => database.run({ sql: NEWEST, params: { key: nextKey() } }), shape),
  fill: async () => {
    await Promise.all(Array.from({ length: KEYS }, insert));
  },
};
export type SpannerFloorCommands = typeof commands;
answer(commands);
